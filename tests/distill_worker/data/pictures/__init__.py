"""Tests of decoding pictures, and of the store of their pixels."""

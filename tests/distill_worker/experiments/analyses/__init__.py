"""Tests of the analyses of finished students."""

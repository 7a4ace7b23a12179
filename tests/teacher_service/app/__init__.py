"""Tests of the application, and of the service inside another program."""

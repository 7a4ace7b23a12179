"""Tests of `teacher_service.cli`."""

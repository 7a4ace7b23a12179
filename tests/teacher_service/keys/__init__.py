"""Tests of `teacher_service.keys`."""

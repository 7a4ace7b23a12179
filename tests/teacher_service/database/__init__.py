"""Tests of `teacher_service.database`."""

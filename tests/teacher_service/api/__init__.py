"""Tests of `teacher_service.api`."""

"""Tests of `teacher_service.policy`."""

"""Tests of `teacher_service.inference`."""

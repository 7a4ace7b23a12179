"""Tests of `teacher_service.models.archives`."""

"""Tests of `teacher_service.api.routes`."""

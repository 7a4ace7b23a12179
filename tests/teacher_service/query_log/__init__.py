"""Tests of `teacher_service.query_log`."""

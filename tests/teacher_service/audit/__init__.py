"""Tests of teacher_service.audit."""

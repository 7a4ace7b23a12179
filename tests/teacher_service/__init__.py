"""Tests of teacher_service."""

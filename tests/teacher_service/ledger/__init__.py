"""Tests of `teacher_service.ledger`."""

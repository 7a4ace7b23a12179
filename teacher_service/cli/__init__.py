"""The `teacher-service` command."""

"""`python -m teacher_service` is the `teacher-service` command."""

from teacher_service.cli import main

main()

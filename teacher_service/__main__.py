"""The `teacher-service` command, also as `python -m teacher_service`."""

import sys


def main() -> None:
    """Run the command; an interrupt during its imports exits without a traceback, as it does later."""
    try:
        from teacher_service.cli.command import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

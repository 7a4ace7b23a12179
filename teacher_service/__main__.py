"""The `teacher-service` command, also as `python -m teacher_service`."""

import sys


def main() -> None:
    """Run it; interrupted while it is loaded, which takes seconds, it ends as quietly as later."""
    try:
        from teacher_service.cli.command import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

"""The `distill-worker` command, also as `python -m distill_worker`."""

import sys


def main() -> None:
    """Run it; interrupted while it is loaded, which takes seconds, it ends as quietly as later."""
    try:
        from distill_worker.cli.command import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()

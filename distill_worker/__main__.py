"""`python -m distill_worker` is the `distill-worker` command."""

from distill_worker.cli import main

main()

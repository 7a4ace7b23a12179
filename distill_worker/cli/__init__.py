"""The `distill-worker` command."""

"""The training loop, and what it needs: batches, schedules, evaluation, the run directory."""

"""What `distill-worker doctor` checks, one module a group of checks. Each check gives findings, which are values.

Doctor has no opinion of its own: it runs what a run runs, and the checks that are made before a purchase
(`runs/preflight/`). It goes on after a fault.

Invariant: it spends no call, and changes neither a purchase nor a run.
"""

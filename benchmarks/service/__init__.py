"""What serving costs: the same network behind nothing, behind two other servers, and behind ours.

`python -m benchmarks.service` measures everything in one run; see `subjects` for what is compared, `cells` for how.
"""

"""The directory of a run, and the moving aside of an earlier one."""

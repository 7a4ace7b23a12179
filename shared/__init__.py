"""The contract between teacher and worker: what would corrupt data if one side changed it alone."""

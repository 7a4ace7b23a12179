"""Real processes, real files, real kills."""

"""Self-training: ensembles of students give outputs to samples that were not bought; no call is spent."""

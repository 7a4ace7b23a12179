"""Training on one GPU: steps, losses, and several students at once."""

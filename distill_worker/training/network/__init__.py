"""What a training does with the network itself, beside its steps."""

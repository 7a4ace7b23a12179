"""From an admitted request to the model's answer: queue, batches, outputs derived from logits."""

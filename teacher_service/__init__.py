"""A model's logits behind a call quota, every query logged, over the Open Inference Protocol."""

"""Run one query: check the request, queue it, batch it, run the model, derive outputs from logits."""

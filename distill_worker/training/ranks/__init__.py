"""Several processes that train one student together, as torchrun starts them: ranks."""

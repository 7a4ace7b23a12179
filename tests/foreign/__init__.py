"""Teachers of other makes, written from what is published of them; no code of ours is in them."""

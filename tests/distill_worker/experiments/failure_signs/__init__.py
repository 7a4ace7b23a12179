"""The signs of a failed experiment."""

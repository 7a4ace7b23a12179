"""Buys a teacher's outputs once, keeps them, and trains students on them."""

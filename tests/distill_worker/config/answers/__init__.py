"""How answers of vendors are read."""

"""How answers of vendors are read: where values stand in them, and which texts are labels."""

"""The HTTP surface: thin functions between the wire and the desk."""

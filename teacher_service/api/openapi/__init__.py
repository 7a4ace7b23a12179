"""The OpenAPI document, with what FastAPI cannot derive from signatures."""

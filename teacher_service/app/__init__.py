"""The service as one application: put together, and run inside another program such as a notebook."""

from teacher_service.app.application import create_app

__all__ = ["create_app"]

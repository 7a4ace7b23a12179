"""Every error of the service, and the problem documents that clients get."""

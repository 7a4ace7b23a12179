"""The HTTP API: routes, request bodies, problem responses, OpenAPI document, HTTP server."""

"""Serving: loading a handed-over model, the web application, and its server."""

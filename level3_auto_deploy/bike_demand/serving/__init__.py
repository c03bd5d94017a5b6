"""Serving: the live model, the web application, and its server."""

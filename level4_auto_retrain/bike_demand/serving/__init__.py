"""Serving: the model that is live, the application around it, and batch scoring."""

"""Serving: the model as handed over, the application around it, and batch scoring."""

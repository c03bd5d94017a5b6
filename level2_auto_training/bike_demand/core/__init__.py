"""Shared foundations: the `Problem` interface, the current problem, settings, errors, atomic file writes."""

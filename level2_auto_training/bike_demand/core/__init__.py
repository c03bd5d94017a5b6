"""The ground floor: the `Problem` interface, the current problem, settings, errors and atomic file writes."""

"""The ground floor: what a problem is, the problem in force, settings, errors, and files written whole."""

"""The tool around the levels: set up, run, replay and compare them. It never runs a level in place."""

__version__ = "0.1.0"

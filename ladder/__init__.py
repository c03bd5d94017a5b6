"""The tool around the levels: runs, replays and compares them, and makes projects from them."""

from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parent.parent  # the checkout


class UserError(Exception):
    """A mistake in what the user gave: one line that says what is wrong, where, and what to do."""

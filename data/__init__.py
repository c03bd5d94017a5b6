"""The world of the project: the operator's feed, its simulator, its faults and the import of real data."""

from pathlib import Path

HERE = Path(__file__).parent
COMMITTED_FEED = HERE / "feed"
SCENARIOS = HERE / "scenarios"


class UserError(Exception):
    """A mistake in what the user gave: one line that says what is wrong, where, and what to do."""

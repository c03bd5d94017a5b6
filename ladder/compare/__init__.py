"""The comparison: replays levels through the same story, and measures the results."""

"""The comparison: levels live through the same story, and what came of it is measured."""

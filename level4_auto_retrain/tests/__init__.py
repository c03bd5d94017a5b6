"""Tests of the project. `python -m pytest` runs all but the slow ones, `--all` those too."""

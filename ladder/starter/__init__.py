"""Starters: a level copied as a project of one's own, which can climb to the next level later."""

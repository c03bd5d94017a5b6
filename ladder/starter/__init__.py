"""Starters: a level copied as an independent project, which can climb to the next level later."""

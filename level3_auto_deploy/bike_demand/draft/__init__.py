"""Drafts a problem from a user's own table: reads it, guesses what its columns are, writes the code."""

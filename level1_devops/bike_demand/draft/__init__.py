"""A first problem from a person's own table: read it, guess what its columns are, write the code."""

"""The one exception for what a user can put right; the command line shows it as a single line."""


class UserError(Exception):
    """A mistake in what was given: one line that says what is wrong, where, and what to do."""

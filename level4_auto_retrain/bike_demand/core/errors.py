"""The exceptions for what a user can put right; the command line shows them as a single line."""


class UserError(Exception):
    """A mistake in what was given: one line that says what is wrong, where, and what to do."""


class UnreachableError(UserError):
    """Something outside did not answer, and may do so in a while."""

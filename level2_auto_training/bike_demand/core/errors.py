"""Exceptions for what a user can fix; the command line prints them as a single line."""


class UserError(Exception):
    """A mistake in the input: one line that says what is wrong, where, and what to do."""


class UnreachableError(UserError):
    """An external service did not respond, but may do so later."""

"""Exceptions for what a user can fix; the command line prints their message without a traceback."""

from pydantic import ValidationError


class UserError(Exception):
    """A mistake in the input. The message says what is wrong, where, and what to do.

    It is one line; errors in a table add one line for each violation.
    """


class UnreachableError(UserError):
    """An external service did not respond, but may do so later."""


def first_violation(error: ValidationError) -> str:
    """The first violation in one line: where (without a place, the name of the model), and what."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or error.title}: {first['msg']}"

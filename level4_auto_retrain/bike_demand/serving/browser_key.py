"""API keys for browsers: the password of HTTP Basic authentication is the key."""

import base64

from fastapi import Request

from bike_demand.serving.keys import RequireKey


class RequireBrowserKey(RequireKey):
    """Also accepts the key as the password of HTTP Basic, with any user name."""

    challenge = 'Basic realm="any name, and an operations key as password", charset="UTF-8"'
    wrong_role = 401  # on which a browser asks for another key

    def given(self, request: Request) -> str | None:
        """The API key of the request."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return super().given(request)
        try:
            return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
        except ValueError:
            return None

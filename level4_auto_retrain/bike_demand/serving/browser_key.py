"""API keys for people: a browser asks its user for a password, and that is the key."""

import base64

from fastapi import Request

from bike_demand.serving.keys import RequireKey


class RequireBrowserKey(RequireKey):
    """Takes the key from the password of HTTP Basic, too; any user name will do."""

    challenge = 'Basic realm="any name, and an operations key as password", charset="UTF-8"'

    def given(self, request: Request) -> str | None:
        """The key that the request carries."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return super().given(request)
        try:
            return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
        except ValueError:
            return None

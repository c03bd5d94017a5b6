"""API keys for browsers, which ask for a user name and a password: any name, and the key."""

from bike_demand.serving.keys import RequireKey


class RequireBrowserKey(RequireKey):
    """Makes a browser ask for the key, and for another one if it has the wrong role."""

    challenge = 'Basic realm="any name, and an operations key as password", charset="UTF-8"'
    wrong_role = 401

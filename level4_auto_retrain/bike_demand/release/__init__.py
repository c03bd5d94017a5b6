"""Release: decides whether a registered version may go live, and makes it live."""

"""Release: whether a registered version may go live, and making it the one that is."""

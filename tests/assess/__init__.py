"""`ladder assess`: its rules on tiny projects, and on the levels of this repository."""

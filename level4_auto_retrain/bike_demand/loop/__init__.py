"""The loop: looks at production, and acts on what it sees: trains, releases, takes back, tells, learns."""

"""The loop: looks at production, and acts on what it sees: trains, releases, rolls back, tells, learns."""

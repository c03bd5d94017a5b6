"""The ground floor: what a problem is, and the problem that this project solves."""

"""Tests of the problem: of what it says, and of what any problem has to keep to."""

"""Tests of this problem, and contract tests for any problem."""

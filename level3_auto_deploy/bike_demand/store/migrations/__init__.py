"""Alembic migrations, which bring a database to the current tables.

To change a table: change `tables.py`, add a module to `versions/`, and put its number into REVISION there.
"""

"""The steps by which Alembic brings a database to the tables of now.

To change a table: change `tables.py`, add a module to `versions/`, and put its number into REVISION there.
"""

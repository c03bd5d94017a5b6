"""What is kept besides the data: runs, models and their aliases, and the tables of production."""

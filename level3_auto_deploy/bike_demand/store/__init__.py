"""What is kept beside the data: runs, models and their aliases, and the tables of production."""

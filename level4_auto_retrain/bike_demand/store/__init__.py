"""What is kept beside the data: runs, registered models and their aliases."""

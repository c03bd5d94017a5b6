"""Training: fits the recipe and exports the result to a file that others can use."""

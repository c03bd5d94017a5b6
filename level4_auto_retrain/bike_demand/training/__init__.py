"""Training: the recipe, fitting it, and turning the result into a file that others can use."""

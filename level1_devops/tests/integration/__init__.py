"""Does the model that was handed over work in the application? Run before each release of a model."""

"""The data: rows of the feed, gathered by month, and what the model sees of them."""

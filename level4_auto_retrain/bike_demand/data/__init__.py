"""The data: what a row is, the months gathered from the feed, and what the model sees of them."""

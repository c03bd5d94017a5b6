"""Data: the rows of the feed, ingested by month, and the features computed from them."""

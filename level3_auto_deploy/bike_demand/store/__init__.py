"""The production database: what was predicted, what then happened, which deployment is where."""

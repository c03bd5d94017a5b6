"""The prediction log: what was answered, what then happened, and who answers, in one SQL database."""

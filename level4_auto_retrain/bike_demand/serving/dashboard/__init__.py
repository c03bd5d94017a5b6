"""The page that people look at: is it fine, what is the loop doing, and why."""

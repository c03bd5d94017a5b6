"""Does a model work in the application? The same checks as before each release of one."""

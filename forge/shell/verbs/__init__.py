"""The verbs that only the shell has: they change what the lines after them work on."""

"""Chat: rows of any known format become conversations, templates turn those into text, and labels say what is learned."""

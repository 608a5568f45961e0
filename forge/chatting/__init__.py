"""Chatting with a server that speaks OpenAI's API, on a terminal; it needs nothing beyond the standard library and a prompt."""

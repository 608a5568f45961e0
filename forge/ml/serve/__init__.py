"""Serving a model: an HTTP API as OpenAI's clients speak it, in front of an engine that generates many texts at a time."""

"""Data: where text comes from, and the tokenizers that read it."""

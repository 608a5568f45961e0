"""The language server: what an editor asks about a config, answered from the files; nothing a config names is imported.

`outline` and `cursor` read a text that may be broken, `desk` knows the projects, and one file each answers a question.
Only `server` knows the protocol.
"""

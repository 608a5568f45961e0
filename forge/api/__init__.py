"""Forge in Python: everything the verbs do, in a few lines.

    project = forge.open("projects/pydoc")
    config = project.config("pretrain/tiny", "optimizer=adafactor")
    print(config.show(), config.why("optimizer.lr"))
    config.graph                 # in a notebook: the picture
    config.check()               # every mistake, with file and line
    model = config.build("model")
    print(config.diff(project.config("chat/full")))

A handle is a snapshot: it reads the files when it is first asked and keeps what it found. Open it again to see changes.
"""

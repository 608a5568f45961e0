"""What a run needs before it begins: its layout, whether that is possible, its memory, its traffic. Nothing here imports torch."""

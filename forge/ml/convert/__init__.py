"""From one model folder to another: files read whatever they are called, changed on the way, and written whole or not at all."""

"""What is wrong around a run: each thing that goes wrong in practice is a row with a verdict, and with what to do about it."""

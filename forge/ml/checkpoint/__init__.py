"""Checkpoints: written whole or not at all, found again by what they hold, read without pickle.

A checkpoint is a Hugging Face folder with the state of the run beside it: its files are written into a stage folder and
forced to disk, a manifest names them with their hashes, and one rename makes it a checkpoint.

    Store, Stage, verify, link       files only: no torch
    tensors                          safetensors, written straight from memory
    state, Saver                     what a run is made of, to tensors and JSON and back
"""

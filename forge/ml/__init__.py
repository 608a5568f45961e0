"""Everything that may import torch; nothing outside this folder does."""

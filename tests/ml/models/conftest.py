"""What the tests of models share."""

from __future__ import annotations

import os
import sys

# The modules beside this one: made-up models, hostile files, a real model.
sys.path.insert(0, os.path.dirname(__file__))

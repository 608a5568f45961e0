"""What tests of several packages below share."""

from __future__ import annotations

import os
import sys

# The module beside this one.
sys.path.insert(0, os.path.dirname(__file__))

"""What libraries tell their own developers while they are imported: kept from the users of forge, word by word and nothing else.

Where torchao is installed, transformers imports it in every process, whether it is used or not.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

__all__ = ["keep_asides"]

# By logger: a part of the message. That compiled kernels were not loaded is news where torch could have used them.
_ASIDES: Final = {
    "torchao": "Failed to load ",
    "torch.utils._pytree": "is an Enum subclass and is now natively supported",
}


def keep_asides() -> None:
    """From now on these records are dropped; what forge itself refuses for want of a kernel, it says by itself."""
    for name in _ASIDES:
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    if _ASIDES[record.name] not in record.getMessage():
        return True
    version = getattr(sys.modules.get("torch"), "version", None)
    return record.name == "torchao" and getattr(version, "cuda", None) is not None

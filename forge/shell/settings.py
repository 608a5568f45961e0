"""What the user's settings say about the shell: which keys edit a line.

shell:
  keys: vi      # or emacs, which is what they are without this
"""

from __future__ import annotations

import os
from typing import Final, Literal, NamedTuple

from forge.base.errors import ConfigSyntaxError
from forge.base.files import read_bounded
from forge.base.origin import Origin
from forge.base.places import user_settings
from forge.base.spelling import did_you_mean

__all__ = ["Settings", "shell_settings"]

_LIMIT: Final = 1 << 20
_KEYS: Final = ("emacs", "vi")


class Settings(NamedTuple):
    """The settings of the shell."""

    keys: Literal["emacs", "vi"] = "emacs"


def shell_settings() -> Settings:
    """What stands under ``shell:`` in the user's settings; ConfigSyntaxError with the line of what makes no sense."""
    path = user_settings()
    if not os.path.isfile(path):
        return Settings()
    from forge.compose.document import ConfigMap, parse_document  # most users have no such file

    tree = parse_document(read_bounded(path, _LIMIT), path, "user").tree
    chosen = tree.get("shell") if isinstance(tree, ConfigMap) else None
    if chosen is None:
        return Settings()
    if not isinstance(chosen, ConfigMap):
        raise ConfigSyntaxError("'shell' holds settings, such as 'keys: vi'", origin=Origin(path, 1))
    for name in chosen:
        if name != "keys":
            hint = did_you_mean(str(name), ("keys",)) or "known: keys"
            raise ConfigSyntaxError(
                f"the shell has no setting {name!r}", origin=chosen.settings[name].origin, hint=hint
            )
    keys = chosen.get("keys", "emacs")
    if keys not in _KEYS:
        raise ConfigSyntaxError(
            f"'keys' cannot be {keys!r}", origin=chosen.settings["keys"].origin, hint="it is emacs or vi"
        )
    return Settings(keys)

"""The policy for one project: forge's own list, the project's packages, and what the user allows in their settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import ConfigSyntaxError
from forge.base.files import read_bounded
from forge.base.origin import Origin
from forge.base.places import user_settings
from forge.compose.document import ConfigList, ConfigMap, parse_document
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from forge.compose.project import Project
    from forge.graph.policy import Policy

__all__ = ["policy_of"]

_LIMIT: Final = 1 << 20


def policy_of(project: Project) -> Policy:
    """What configs of this project may name, for this user."""
    return default_policy(project.source_packages, _allowed_by_user())


def _allowed_by_user() -> tuple[str, ...]:
    """The patterns under ``allow:`` in the user's settings; no config and no project can reach that file."""
    path = user_settings()
    if not os.path.isfile(path):
        return ()
    tree = parse_document(read_bounded(path, _LIMIT), path, "user").tree
    allowed = tree.get("allow") if isinstance(tree, ConfigMap) else None
    if allowed is None:
        return ()
    if not isinstance(allowed, ConfigList) or not all(isinstance(pattern, str) for pattern in allowed):
        raise ConfigSyntaxError(
            "'allow' is a list of names",
            origin=Origin(path, 1),
            hint="write one '  - package.Name' line below it for each",
        )
    return tuple(allowed)

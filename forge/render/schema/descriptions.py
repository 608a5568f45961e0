"""The schemas of what describes a config and a project: ``meta:``, ``args:`` and ``project.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from forge.render.schema.seen import Seen
    from forge.render.schema.values import Fragment

__all__ = ["ARGS", "META", "project_schema"]

_TEXT: Final[Fragment] = {"type": ["string", "null"]}
_NAMES: Final[Fragment] = {"type": ["array", "null"], "items": {"type": "string"}}

META: Final[Fragment] = {
    "description": "What the config says of itself.",
    "type": ["object", "null"],
    "properties": {
        "name": _TEXT,
        "description": {**_TEXT, "description": "What `forge ls` prints."},
        "kind": _TEXT,
        "tags": {**_NAMES, "items": {}},
        "main": {
            **_TEXT,
            "description": "The top-level key of the object that a run is about; `trainer` if it is not said.",
        },
    },
}
ARGS: Final[Fragment] = {
    "description": "Command-line flags of this config, each with the value it sets.",
    "type": ["object", "null"],
    "properties": {"defaults": {}},  # the file may be a choice of its own
    "additionalProperties": {
        "type": ["object", "null"],
        "properties": {
            "key": {"type": "string", "description": "The dotted path of the value that the flag sets, or a group."},
            "aliases": {"type": ["array", "null"], "items": {"type": "string", "pattern": "^-"}},
            "type": {"enum": ["int", "float", "str", "path", "bool", None]},
            "choices": {"type": ["array", "null"]},
            "min": {"type": ["number", "null"]},
            "max": {"type": ["number", "null"]},
            "default": {},
            "help": {},
        },
        "additionalProperties": False,
    },
}


def project_schema(seen: Seen) -> Fragment:
    """The schema of ``project.yaml``."""
    return {
        "title": "A project of forge",
        "type": ["object", "null"],
        "properties": {
            "name": {**_TEXT, "description": "How the project is called with -p."},
            "description": _TEXT,
            "default_config": {
                "description": "The config that is meant when -t is not given.",
                "enum": [*seen.configs, *(f"{name}.yaml" for name in seen.configs), None],
            },
            "search_path": {**_NAMES, "description": "Other projects by name, folders of config groups as ./folder."},
            "source": {
                **_TEXT,
                "description": "The folder of the project's own Python packages; `src` if it is not said.",
            },
            "groups": {**_NAMES, "description": "Folders of configs/ that hold choices, beside the library's groups."},
        },
        "additionalProperties": False,
    }

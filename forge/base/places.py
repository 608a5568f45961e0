"""Where forge's own files and the user's files are. Nothing is read and nothing is made here."""

from __future__ import annotations

import os

__all__ = [
    "chat_templates",
    "library_configs",
    "shipped_projects",
    "user_cache",
    "user_configs",
    "user_data",
    "user_settings",
]


def library_configs() -> str:
    """The folder of the config library: one folder per config group."""
    return os.path.join(_shipped(), "configs")


def shipped_projects() -> str:
    """The folder of the projects that are part of forge."""
    return os.path.join(_shipped(), "projects")


def chat_templates() -> str:
    """The folder of the chat templates that are part of forge."""
    return os.path.join(_shipped(), "chat_templates")


def user_configs() -> str:
    """The folder of the user's own config groups: ``~/.config/forge/configs``."""
    return os.path.join(_user_folder("CONFIG", ".config"), "configs")


def user_settings() -> str:
    """The file of the user's own settings: ``~/.config/forge/settings.yaml``."""
    return os.path.join(_user_folder("CONFIG", ".config"), "settings.yaml")


def user_data() -> str:
    """The folder of what forge remembers for the user: ``~/.local/share/forge``."""
    return _user_folder("DATA", os.path.join(".local", "share"))


def user_cache() -> str:
    """The folder of what forge can compute again: ``~/.cache/forge``."""
    return _user_folder("CACHE", ".cache")


def _shipped() -> str:
    """``forge/library`` in an installed wheel; in a checkout, the folder that holds the package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.join(package, "library")
    return library if os.path.isdir(library) else os.path.dirname(package)


def _user_folder(kind: str, usual: str) -> str:
    """``$FORGE_<kind>_HOME``, else ``$XDG_<kind>_HOME/forge``, else ``~/<usual>/forge``."""
    own = os.environ.get(f"FORGE_{kind}_HOME")
    if own:
        return os.path.abspath(os.path.expanduser(own))
    shared = os.environ.get(f"XDG_{kind}_HOME", "")
    # The XDG specification says that a relative path there is to be ignored.
    base = shared if os.path.isabs(shared) else os.path.join(os.path.expanduser("~"), usual)
    return os.path.join(base, "forge")

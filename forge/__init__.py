"""Forge: configs for language-model training, composed into one graph that can be seen, explained, checked and trusted.

configs/*.yaml ──> compose ──> graph ──┬──> render ──> tree | Python | SVG | HTML
                                       └──> build ──> train <──> checkpoint ──> serve
             cli, shell ──> all of the above      launch ──> train      control <──> train, serve

`base` lies below all of them; `api` is the same in Python and what the verbs call; `lsp` answers editors; `plan`
says what a layout needs; `chatting` talks with a served model; `report` lists, compares and shows runs; `doctor`
says what is wrong around them; `ml` holds everything that imports torch, and nothing outside it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from forge.api.project import ProjectHandle

__all__ = ["__version__", "open"]
__version__ = "0.1.0"


def open(folder_or_name: str | os.PathLike[str] | None = None) -> ProjectHandle:  # noqa: A001 - read as forge.open
    """The project in or around a folder, or with a name; with nothing given, the one around the current folder."""
    from forge.api.project import open_project  # `import forge` costs nothing

    return open_project(folder_or_name)

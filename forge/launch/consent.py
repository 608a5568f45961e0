"""What of a launch runs as a command, or changes what a command is: it comes from the user, from forge, or from somebody who is trusted.

A shell line, an interpreter, an option of sbatch, a container image and most variables are code in all but name. What is typed is the user's own
word, and so are their own files; what stands in a project's files is asked for once, as the project's code is.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import TrustError
from forge.base.places import library_configs, shipped_projects
from forge.base.trust import are_words_trusted, trust_words
from forge.graph.node import Const, Map, Seq
from forge.graph.walk import edges, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.origin import Origin
    from forge.graph.node import Node

__all__ = ["LaunchWord", "launch_words", "require_launch_trust", "trust_launch"]

_RUN: Final = ("setup", "python", "sbatch", "image", "env")
_OWN: Final = frozenset({"override", "flag", "user", "library"})
# Variables that only number, name or switch something.
_PLAIN: Final = re.compile(
    r"CUDA_(?:VISIBLE_DEVICES|LAUNCH_BLOCKING|DEVICE_MAX_CONNECTIONS)|(?:OMP|MKL)_NUM_THREADS|TOKENIZERS_PARALLELISM"
    r"|(?:NCCL|GLOO|TP)_SOCKET_IFNAME|NCCL_(?:DEBUG|DEBUG_SUBSYS|IB_\w+|P2P_\w+|SHM_DISABLE|ALGO|PROTO|CROSS_NIC|NVLS_ENABLE)"
    r"|TORCH_NCCL_(?:ASYNC_ERROR_HANDLING|BLOCKING_WAIT|AVOID_RECORD_STREAMS|HEARTBEAT_TIMEOUT_SEC)|TORCH_DIST_INIT_BARRIER"
    r"|(?:HF_HUB|TRANSFORMERS|HF_DATASETS)_OFFLINE|WANDB_(?:PROJECT|MODE|RUN_GROUP)|PYTORCH_(?:CUDA_)?ALLOC_CONF"
)


class LaunchWord(NamedTuple):
    """One value that a project's file wants to be run with."""

    key: str
    text: str
    origin: Origin | None

    def __str__(self) -> str:
        """With its place."""
        return ": ".join([*([str(self.origin)] if self.origin else []), self.key, self.text])


def launch_words(root: Node) -> list[LaunchWord]:
    """What of the launch is neither the user's own word nor forge's."""
    launch = find(root, ("launch",))
    if launch is None:
        return []
    found = []
    for name in _RUN:
        below = find(launch, (name,))
        if below is not None:
            found += [word for word in _words(f"launch.{name}", below) if not _is_own(word)]
    return found


def require_launch_trust(root: Node, project_folder: str, line: str) -> None:
    """TrustError for a launch that the user has not said yes to; ``line`` is what says it."""
    words = launch_words(root)
    if words and not are_words_trusted(project_folder, _told(words)):
        shown = "\n  ".join(map(str, words))
        raise TrustError(
            f"the project's files bring what would be run, and is not trusted yet:\n  {shown}",
            hint=f"read it, then run: {line}",
        )


def trust_launch(root: Node, project_folder: str) -> list[LaunchWord]:
    """Let these values be run with, as they are now; they are returned."""
    words = launch_words(root)
    if words:
        trust_words(project_folder, _told(words))
    return words


def _told(words: list[LaunchWord]) -> list[str]:
    """What is remembered: the lines of one setting together, for they mean something else in another order."""
    told: dict[str, list[str]] = {}
    for word in words:
        told.setdefault(word.key, []).append(word.text)
    return [f"{key}={texts}" for key, texts in told.items()]


def _words(key: str, node: Node) -> Iterator[LaunchWord]:
    inner = edges(node)
    if not inner and not isinstance(node, (Map, Seq)):
        value = node.value if isinstance(node, Const) else node
        if value not in (None, ""):
            yield LaunchWord(key, str(value), node.origin)
    for edge in inner:
        if isinstance(edge.key, str) and not (key == "launch.env" and _PLAIN.fullmatch(edge.key)):
            yield from _words(f"{key}.{edge.key}", edge.node)
        elif not isinstance(edge.key, str):
            yield from _words(key, edge.node)


def _is_own(word: LaunchWord) -> bool:
    origin = word.origin
    if origin is None:
        return False
    shipped = [os.path.realpath(folder) + os.sep for folder in (library_configs(), shipped_projects())]
    return origin.layer in _OWN or os.path.realpath(origin.file).startswith(tuple(shipped))

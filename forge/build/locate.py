"""From a dotted name to the object it names, with the policy asked before the import and after it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError, PolicyError, TargetError
from forge.base.files import make_private_folder
from forge.base.origin import shown_path
from forge.base.places import user_cache
from forge.base.spelling import did_you_mean
from forge.base.trust import require_trust
from forge.compose.project import source_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from forge.base.origin import Origin
    from forge.graph.policy import Policy

__all__ = ["importable", "locate", "locate_all"]

_TRAIN_EXTRA: Final = frozenset({"peft", "tokenizers", "torch", "transformers"})


def locate(
    target: str,
    policy: Policy,
    source_folders: Sequence[str] = (),
    *,
    origin: Origin | None = None,
    key: str = "",
) -> object:
    """The object that ``target`` names: PolicyError when it is refused, TargetError when it does not exist.

    ``source_folders`` are a project's own folders; they are importable for this call only, and only when trusted.
    """
    return locate_all([(target, origin, key)], policy, source_folders)[target]


def locate_all(
    wanted: Sequence[tuple[str, Origin | None, str]], policy: Policy, source_folders: Sequence[str] = ()
) -> dict[str, object]:
    """`locate` for many (target, origin, key), each distinct target once; all names are checked before any import."""
    targets = {target: (origin, key) for target, origin, key in wanted}
    for target, place in targets.items():
        policy.check_name(target, *place)
    packages = source_packages(source_folders) if source_folders else ()
    own = {target for target in targets if target.partition(".")[0] in packages}
    found: dict[str, object] = {}
    with importable(source_folders if own else ()):
        for target, (origin, key) in targets.items():
            if target in own:
                _check_place(target.partition(".")[0], source_folders, origin, key)
            found[target] = _resolve(target, policy, origin, key)
    return found


@contextlib.contextmanager
def importable(source_folders: Sequence[str]) -> Iterator[None]:
    """Let a project's own folders be imported from while the context lasts; TrustError unless they are trusted."""
    for folder in source_folders:
        require_trust(folder)
    added = [os.path.realpath(folder) for folder in source_folders]
    if added:
        _keep_bytecode_apart()
        importlib.invalidate_caches()
    # Behind everything else: a project's file can then never take the place of an installed module.
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def _keep_bytecode_apart() -> None:
    """Make Python ignore ``__pycache__`` in source folders for the rest of the process.

    A stranger's repository could bring compiled files there that differ from the sources which the user has read.
    """
    if sys.pycache_prefix is not None:
        return
    folder = os.path.join(user_cache(), "pycache")
    try:
        make_private_folder(folder)
    except FileError:
        # A home that cannot be written, or is not ours: a place that can hold no file means no compiled files at all.
        folder = os.devnull
    sys.pycache_prefix = folder


def _check_place(root: str, source_folders: Sequence[str], origin: Origin | None, key: str) -> None:
    """Refuse a package of the project's name that would come from, or has come from, anywhere else."""
    module = sys.modules.get(root)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(root)
    places = [] if spec is None else list(spec.submodule_search_locations or [spec.origin or ""])
    folders = tuple(os.path.realpath(folder) + os.sep for folder in source_folders)
    strange = next((place for place in places if not os.path.realpath(place).startswith(folders)), None)
    if strange is not None:
        raise PolicyError(
            f"the project's package {root!r} is hidden by {shown_path(strange)}",
            origin=origin,
            key=key,
            hint="rename one of the two",
        )


def _resolve(target: str, policy: Policy, origin: Origin | None, key: str) -> object:
    parts = target.split(".")
    found: object
    found, depth = _import_longest(parts, origin, key)
    owner: object = None
    for position in range(depth, len(parts)):
        policy.check_step(target, found, origin, key)
        owner, found = found, _attribute(found, parts[position], target, origin, key)
    policy.check_object(target, found, origin, key, owner=owner)
    return found


def _import_longest(parts: list[str], origin: Origin | None, key: str) -> tuple[ModuleType, int]:
    """Import the longest beginning of a name that is a module; the last part is never a module."""
    for depth in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:depth])
        try:
            return importlib.import_module(name), depth
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _not_importable(name, error, origin, key) from error
        except ImportError as error:
            raise _not_importable(name, error, origin, key) from error
    hint = "pip install 'forge[train]'" if parts[0] in _TRAIN_EXTRA else "install it, or correct the name"
    raise TargetError(f"there is no module {parts[0]!r}", origin=origin, key=key, hint=hint)


def _attribute(holder: object, name: str, target: str, origin: Origin | None, key: str) -> object:
    try:
        return getattr(holder, name)
    except AttributeError as error:
        place = getattr(holder, "__name__", type(holder).__name__)
        names = [candidate for candidate in dir(holder) if not candidate.startswith("_")]
        hint = did_you_mean(name, names) or None
        raise TargetError(f"{target}: {place} has no {name!r}", origin=origin, key=key, hint=hint) from error
    except ImportError as error:
        raise _not_importable(target, error, origin, key) from error


def _not_importable(name: str, error: ImportError, origin: Origin | None, key: str) -> TargetError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return TargetError(f"cannot import {name}: {lines[0]}", origin=origin, key=key)

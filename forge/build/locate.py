"""From a dotted name to the object it names, with the policy asked before the import and after it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from typing import TYPE_CHECKING, Final

from forge.base.collector import collector_paused
from forge.base.errors import PolicyError, TargetError
from forge.base.origin import shown_path
from forge.base.spelling import did_you_mean
from forge.base.trust import require_trust
from forge.compose.project import source_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, ModuleType

    from forge.base.origin import Origin
    from forge.graph.policy import Policy

__all__ = ["importable", "locate", "locate_all"]

_EXTRA_OF: Final = {"torchao": "lowbit", **dict.fromkeys(("peft", "tokenizers", "torch", "transformers"), "train")}


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
    with importable(source_folders if own else ()), collector_paused():  # modules stay
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
        _compile_anew(added)
        importlib.invalidate_caches()
    # Behind everything else: a project's file can then never take the place of an installed module.
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


class _FromSource(SourceFileLoader):
    """Compiles a module anew each time.

    A stranger's repository could bring compiled files in ``__pycache__`` that differ from the sources which the user has read.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The code of the module's source file."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


_LOADERS: Final = ((ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES))
_compiled_anew: Final[set[str]] = set()


def _compile_anew(folders: Sequence[str]) -> None:
    """Never read, or write, compiled files in these folders; those of installed modules are used as ever."""
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    _compiled_anew.update(folders)
    for path in list(sys.path_importer_cache):
        if _is_compiled_anew(path):
            del sys.path_importer_cache[path]


def _finder(path: str) -> FileFinder:
    """What finds the modules of a folder; ImportError, as Python wants it, when the folder is an ordinary one."""
    if not _is_compiled_anew(path):
        raise ImportError(path)
    return FileFinder(path, *_LOADERS)


def _is_compiled_anew(path: str) -> bool:
    return f"{os.path.realpath(path)}{os.sep}".startswith(tuple(f"{folder}{os.sep}" for folder in _compiled_anew))


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
    extra = _EXTRA_OF.get(parts[0])
    hint = f"pip install 'forge[{extra}]'" if extra else "install it, or correct the name"
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

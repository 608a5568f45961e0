"""Show a checkpoint's files at the root of the model folder, so that the folder itself loads as a model.

    MODEL/model.safetensors -> checkpoints/linked/model.safetensors
    MODEL/checkpoints/linked -> checkpoint-100

Every name at the root leads through ``linked``, and that one link is what changes: whoever loads the folder finds the old files
or the new ones, never some of each, also when the change is cut off. A name that only one of the two has leads nowhere while
the other is shown, and loaders take that for a file that is not there.

Files of the model folder's own are kept in ``checkpoints/before-link`` and shown from there until the change, as if nothing
had been done.
"""

from __future__ import annotations

import filecmp
import os
import re
from typing import TYPE_CHECKING, Final

from forge.base.errors import CheckpointError
from forge.base.files import add_hard_link, force_to_disk, make_folder, remove_file, replace_symlink
from forge.base.origin import shown_path
from forge.ml.checkpoint.store import LINKED, open_checkpoint

if TYPE_CHECKING:
    from forge.ml.checkpoint.store import Checkpoint, Store

__all__ = ["BEFORE", "STATE", "link"]

BEFORE: Final = "before-link"
STATE: Final = "state"
# What a loader might take in place of the checkpoint's weights, were it to stay.
_WEIGHTS: Final = re.compile(r"(model|pytorch_model)([.-].*)?\.(safetensors|bin|pth)(\.index\.json)?|consolidated\..*")
_OF_LINKING: Final = re.compile(r"\.forge-[0-9a-f]{16}\.tmp")


def link(store: Store, path: str | None = None, *, force: bool = False) -> Checkpoint:
    """Let the model folder show a checkpoint, by default the newest that is whole, and return it.

    Files of the folder's own that would be replaced by different ones are a CheckpointError, or with ``force`` are kept in
    ``checkpoints/before-link``.
    """
    with store.changing():
        found = store.newest() if path is None else open_checkpoint(path)
        if found is None:
            raise CheckpointError(f"there are no checkpoints in {shown_path(store.folder)}")
        if os.path.dirname(found.path) != store.folder:
            raise CheckpointError(f"{shown_path(found.path)} is not a checkpoint of {shown_path(store.folder)}")
        _show(store.folder, found, force=force)
    return found


def _show(folder: str, found: Checkpoint, *, force: bool) -> None:
    root, pointer = os.path.dirname(folder), os.path.join(folder, LINKED)
    through = f"{os.path.basename(folder)}/{LINKED}/"
    names = _names(found)
    present = {name: _is_ours(os.path.join(root, name), through) for name in os.listdir(root)}
    own = [name for name, ours in present.items() if not ours and (name in names or _hides(name, names))]
    _refuse(root, found, [name for name in own if not _same(root, found.path, name)], force=force)
    _keep(root, folder, own)
    if own and not os.path.lexists(pointer):
        _point(pointer, BEFORE)
    for name in sorted({*names, *own}):
        if not present.get(name, False):
            replace_symlink(os.path.join(root, name), through + name)
    force_to_disk(root)
    _point(pointer, found.name)
    for name, ours in present.items():
        if name not in names and (ours or name in own or _OF_LINKING.fullmatch(name)):
            remove_file(os.path.join(root, name))
    force_to_disk(root)


def _names(found: Checkpoint) -> set[str]:
    """The files and folders of the model in a checkpoint, without the state of the run."""
    files = found.manifest.files if found.manifest else {}
    return {name.split("/")[0] for name in files} - {STATE}


def _is_ours(path: str, through: str) -> bool:
    return os.path.islink(path) and os.readlink(path).startswith(through)


def _hides(name: str, names: set[str]) -> bool:
    """Whether a loader could take this file for the model in place of the checkpoint's weights."""
    return _WEIGHTS.fullmatch(name) is not None and any(_WEIGHTS.fullmatch(other) for other in names)


def _same(root: str, checkpoint: str, name: str) -> bool:
    mine, its = os.path.join(root, name), os.path.join(checkpoint, name)
    return os.path.isfile(mine) and os.path.isfile(its) and filecmp.cmp(mine, its, shallow=False)


def _refuse(root: str, found: Checkpoint, replaced: list[str], *, force: bool) -> None:
    folders = [name for name in replaced if os.path.isdir(os.path.join(root, name))]
    if folders:
        raise CheckpointError(f"{shown_path(os.path.join(root, folders[0]))} is a folder: move it away first")
    if replaced and not force:
        some = ", ".join(sorted(replaced)[:3]) + (", ..." if len(replaced) > 3 else "")  # noqa: PLR2004
        raise CheckpointError(
            f"{shown_path(root)} has files of its own that {found.name} would replace: {some}",
            hint=f"add --force: they are kept in {os.path.basename(os.path.dirname(found.path))}/{BEFORE}",
        )


def _keep(root: str, folder: str, own: list[str]) -> None:
    """Give the folder's own files a second name, before the first one leads elsewhere."""
    kept = os.path.join(folder, BEFORE)
    if own:
        make_folder(kept)
    for name in own:
        mine, number, path = os.path.join(root, name), 1, os.path.join(kept, name)
        while os.path.lexists(path) and not os.path.samefile(mine, path):
            number += 1
            path = os.path.join(kept, f"{name}.{number}")
        if not os.path.lexists(path):
            add_hard_link(mine, path)
    if own:
        force_to_disk(kept)


def _point(pointer: str, target: str) -> None:
    replace_symlink(pointer, target)
    force_to_disk(os.path.dirname(pointer))

"""`forge download`: the files of a repository on the Hub, each checked, under their folder's name when all are there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1, sha256
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from forge.base.errors import ModelError
from forge.base.files import force_to_disk, make_folder, move_folder, open_part, remove_file, remove_tree
from forge.base.locks import claim
from forge.base.origin import shown_path
from forge.ml.checkpoint.verify import file_sha256
from forge.ml.convert.new_model import refuse_present

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["download"]

_PARTS: Final = ".parts"
_AT_A_TIME: Final = 4
_LOCK: Final = ".downloading.lock"
_PORTION: Final = 4 << 20
_BEYOND_ITS_END: Final = 416
_ELSEWHERE: Final = "remove it, or download into a folder that only you can write to"


def download(
    repo: str,
    target: str,
    *,
    kind: str = "model",
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    say: Callable[[str], None],
) -> str:
    """Download a repository into a new folder and return the commit that it is at.

    What a download that was cut off has left, beside the new folder under a hidden name, is taken up again.
    """
    refuse_present(target)
    commit, wanted = _listed(repo, kind, revision, include, exclude)
    say(f"{repo} at {commit[:12]}: {len(wanted)} files")
    parent, name = os.path.split(os.path.abspath(target))
    staged = os.path.join(parent, f".{name}.downloading-{commit[:12]}")
    make_folder(staged)
    _refuse_link(parent, os.path.basename(staged))
    if os.stat(staged).st_uid != os.geteuid():
        raise ModelError(
            f"{shown_path(staged)} belongs to another user, who may change what is downloaded", hint=_ELSEWHERE
        )
    held = claim(os.path.join(staged, _LOCK))
    if held is None:
        raise ModelError(f"{shown_path(target)} is being downloaded by another process", hint="wait for it to end")
    try:
        _get(repo, kind, commit, wanted, staged)
        _check(staged, wanted)
        remove_tree(os.path.join(staged, _PARTS))
        for folder, _, files in os.walk(staged):
            for file in files:
                force_to_disk(os.path.join(folder, file))
        remove_file(os.path.join(staged, _LOCK))
        move_folder(staged, target)
        force_to_disk(parent)
    finally:
        held.release()
    return commit


def _listed(
    repo: str, kind: str, revision: str | None, include: Sequence[str], exclude: Sequence[str]
) -> tuple[str, list[Any]]:
    """The commit that is meant, and its files that are wanted."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    found: Any = _asked(repo, lambda: HfApi().repo_info(repo, repo_type=kind, revision=revision, files_metadata=True))
    kept = filter_repo_objects(
        found.siblings or [], allow_patterns=list(include) or None, ignore_patterns=list(exclude) or None, key=_name
    )
    wanted = list(kept)
    if not wanted:
        raise ModelError(
            f"{repo} has no file that is wanted ({len(found.siblings or [])} in all)",
            hint="look at --include and --exclude",
        )
    for one in wanted:
        first = os.path.normpath(one.rfilename).split("/")[0]
        if os.path.isabs(one.rfilename) or ".." in one.rfilename.split("/") or first in {_LOCK, _PARTS}:
            raise ModelError(
                f"{repo} has a file that cannot be downloaded: {one.rfilename!r:.100}",
                hint="its name leads out of the new folder, or is one that a download uses; leave it out by --exclude",
            )
    return str(found.sha), wanted


def _refuse_link(folder: str, name: str) -> None:
    """ModelError when one of the folders on the way down to this name, or what has it, is a link."""
    place = folder
    for part in os.path.normpath(name).split("/"):
        place = os.path.join(place, part)
        if os.path.islink(place):
            raise ModelError(
                f"{shown_path(place)} is a link, and what is downloaded would go to another place", hint=_ELSEWHERE
            )


def _name(file: Any) -> str:
    return str(file.rfilename)


def _get(repo: str, kind: str, commit: str, files: Sequence[Any], folder: str) -> None:
    """Get the files that are not there yet, a few at a time, each from where an earlier attempt stopped."""
    stop = Event()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        getting = [pool.submit(_get_one, repo, kind, commit, one, folder, stop) for one in files]
        try:
            for one in getting:
                _asked(repo, one.result)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _get_one(repo: str, kind: str, commit: str, file: Any, folder: str, stop: Event) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part_name = os.path.join(_PARTS, sha256(file.rfilename.encode()).hexdigest())
    for name in (file.rfilename, part_name):
        _refuse_link(folder, name)  # the folder may lie where others can write, too
        make_folder(os.path.dirname(os.path.join(folder, name)))
    path, part = os.path.join(folder, file.rfilename), os.path.join(folder, part_name)
    if os.path.isfile(path):
        return
    url = hf_hub_url(repo, file.rfilename, repo_type=kind, revision=commit)
    with open_part(part) as there:
        size = os.path.getsize(part)
        begun = 0 if file.size is not None and size > file.size else size
        there.truncate(begun)
        given = {"headers": build_hf_headers(), "expected_size": file.size, "displayed_filename": file.rfilename}
        try:
            http_get(url, cast("BinaryIO", _Stoppable(there, stop)), resume_size=begun, **given)
        except HfHubHTTPError as error:
            if error.response.status_code == _BEYOND_ITS_END:
                there.truncate(0)
            raise
    move_folder(part, path)


class _Stoppable:
    """A file in the making that takes no more when all is to stop."""

    def __init__(self, file: BinaryIO, stop: Event) -> None:
        self._file = file
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if self._stop.is_set():
            raise ModelError("the download was stopped")
        return self._file.write(data)


def _asked(repo: str, ask: Callable[[], Any]) -> Any:
    """What the Hub answers, its refusals in words of ours."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return ask()
    except GatedRepoError as error:
        raise ModelError(
            f"{repo} is not open to everybody", hint="ask for access on its page, then set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no repository {repo}, or it is private", hint="for a private one set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no such revision", hint="--revision is a branch, a tag or a commit") from error
    except HFValidationError as error:
        raise ModelError(f"{repo!r} is no repository", hint="write it like mistralai/Mistral-7B-v0.1") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"the Hub does not give {repo}: {reason}", hint="the same line goes on where this stopped"
        ) from error


def _check(folder: str, files: Sequence[Any]) -> None:
    for one in files:
        path = os.path.join(folder, one.rfilename)
        if not os.path.isfile(path):
            raise ModelError(f"{one.rfilename} was not downloaded", hint="run the same line again")
        if not _is_right(path, one):
            remove_file(path)
            raise ModelError(
                f"{one.rfilename} is not what the Hub has: its hash differs",
                hint="run the same line again to get it anew",
            )


def _is_right(path: str, file: Any) -> bool:
    """Large files have their SHA-256 at the Hub, all others the name that git gives to their content."""
    if file.lfs is not None:
        return file_sha256(path) == str(file.lfs.sha256)
    return file.blob_id is None or _git_name(path) == file.blob_id


def _git_name(path: str) -> str:
    digest = sha1(f"blob {os.path.getsize(path)}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while portion := file.read(_PORTION):
            digest.update(portion)
    return digest.hexdigest()

"""Downloads from a stand-in for the Hub, on the loopback device."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("huggingface_hub")

COMMIT = "5" * 40
LARGE = bytes(range(256)) * (48 << 10)  # more than the Hub's library takes at a time
KNOWN = {
    "/api/models/me/tiny",
    f"/api/models/me/tiny/revision/{COMMIT}",
    "/api/models/me/tiny/revision/v1",
    "/api/datasets/me/rows",
}
FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": LARGE,
    "pytorch_model.bin": b"old",
    "original/params.json": b"{}",
}


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as one repository needs."""

    protocol_version = "HTTP/1.1"
    state: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/models/me/closed":
            self._answer(b"", {"x-error-code": "GatedRepo"}, 403)
        elif path == "/api/models/me/tiny/revision/none":
            self._answer(b"", {"x-error-code": "RevisionNotFound"}, 404)
        elif path in KNOWN:
            self._answer(json.dumps({"id": "me/tiny", "sha": COMMIT, "siblings": self._siblings()}).encode())
        elif path == f"/api/models/me/tiny/tree/{COMMIT}":
            self._answer(json.dumps([self._entry(name) for name in FILES]).encode())
        elif path.startswith((f"/me/tiny/resolve/{COMMIT}/", f"/datasets/me/rows/resolve/{COMMIT}/")):
            self._file(path.partition(f"{COMMIT}/")[2])
        else:
            self._answer(b"", {"x-error-code": "RepoNotFound"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _siblings(self) -> list[dict[str, Any]]:
        names = [*FILES, *self.state.get("more", ())]
        return [{"rfilename": name, "size": len(FILES.get(name, b"")), **_hashes(name)} for name in names]

    def _entry(self, name: str) -> dict[str, Any]:
        return {"type": "file", "oid": "0" * 40, "size": len(FILES[name]), "path": name}

    def _file(self, name: str) -> None:
        content = self.state.get("wrong", {}).get(name, FILES[name])
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        facts = {"etag": f'"{sha256(FILES[name]).hexdigest()}"', "x-repo-commit": COMMIT, "accept-ranges": "bytes"}
        if self.command == "GET":
            self.state.setdefault("ranges", []).append((name, start))
        if start or self.headers.get("Range"):
            facts["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if name == self.state.get("closed"):
            self._answer(b"", code=403)
            return
        cuts = self.state.get("cuts")
        cut = cuts.pop() if cuts and self.command == "GET" else None
        self._answer(content[start:], facts, 206 if start else 200, cut)

    def _answer(
        self, content: bytes, headers: dict[str, str] | None = None, code: int = 200, cut: int | None = None
    ) -> None:
        self.send_response(code)
        for key, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
        if cut is not None and "held" in self.state:
            self.wfile.flush()
            self.state["held"].wait(60)
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: a test says what it found."""


def _hashes(name: str) -> dict[str, Any]:
    content = FILES.get(name, b"")
    git = sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    if name == "model.safetensors":
        return {
            "blobId": "9" * 40,
            "lfs": {"sha256": sha256(content).hexdigest(), "size": len(content), "pointerSize": 9},
        }
    return {"blobId": git}


PROGRAM = """
import json, sys
from forge.ml.convert.__main__ import main
for words in json.loads(sys.argv[1]):
    print("code", main(words), flush=True)
"""


@pytest.fixture
def hub() -> Iterator[str]:
    _Hub.state.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lines(hub: str, tmp_path: Path) -> Callable[..., tuple[list[str], str]]:
    """Runs lines of `forge download` in one process: what each ended with, and what was said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }

    def run(*words: list[str], ended_when: Callable[[], bool] | None = None) -> tuple[list[str], str]:
        command = [sys.executable, "-c", PROGRAM, json.dumps([["download", *line] for line in words])]
        if ended_when is not None:
            with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
                end = time.monotonic() + 60
                while not ended_when() and time.monotonic() < end:
                    time.sleep(0.02)
                process.kill()
            return [], ""
        done = subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line.startswith("code")], done.stderr

    return run


def test_what_is_wanted_arrives_and_what_is_not_there_is_said(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state["more"] = ()
    codes, said = lines(
        ["--exclude=original*", "--exclude=*.bin", "me/tiny", "new"],
        ["--include=*.json", "me/tiny", "some"],
        ["me/tiny", "new"],
        ["me/nothing", "none"],
        ["me/closed", "none"],
        ["--include=*.gguf", "me/tiny", "none"],
        ["a/b/c", "none"],
        ["--revision=none", "me/tiny", "none"],
        ["--revision=v1", "--include=config*", "me/tiny", "first"],
        ["--type=dataset", "--include=config*", "me/rows", "rows"],
    )
    assert codes == ["code 0"] * 2 + ["code 2"] * 6 + ["code 0"] * 2, said
    assert sorted(os.listdir(tmp_path)) == ["first", "new", "rows", "some"]
    assert all((tmp_path / name / "config.json").read_bytes() == FILES["config.json"] for name in ("first", "rows"))
    assert {name: (tmp_path / "new" / name).read_bytes() for name in os.listdir(tmp_path / "new")} == {
        name: FILES[name] for name in ("config.json", "model.safetensors")
    }
    assert sorted(os.listdir(tmp_path / "some")) == ["config.json", "original"]
    for message in (
        "new is there already",
        "there is no repository me/nothing, or it is private",
        "me/closed is not open to everybody",
        "me/tiny has no file that is wanted (4 in all)",
        "'a/b/c' is no repository",
        "me/tiny has no such revision",
    ):
        assert f"error: {message}" in said
    assert "Traceback" not in said


def test_a_file_that_is_cut_off_goes_on_where_it_stopped(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state["cuts"] = [11 << 20]
    codes, said = lines(["--include=model*", "me/tiny", "new"])
    assert codes == ["code 0"], said
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == LARGE
    (_, first), (_, second) = _Hub.state["ranges"]
    assert first == 0 < second


def test_a_download_that_is_killed_goes_on_where_it_stopped(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state |= {"cuts": [11 << 20], "held": threading.Event()}

    def most_is_there() -> bool:
        return any(part.stat().st_size >= 10 << 20 for part in tmp_path.glob(".new.downloading-*/.parts/*"))

    line = ["--include=model*", "me/tiny", "new"]
    lines(line, ended_when=most_is_there)
    _Hub.state["held"].set()
    assert [name for name in os.listdir(tmp_path) if name != "home"] == [f".new.downloading-{COMMIT[:12]}"]
    codes, said = lines(line)
    assert codes == ["code 0"], said
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == LARGE
    (_, first), (_, second) = _Hub.state["ranges"]
    assert first == 0
    assert second >= 10 << 20
    assert [name for name in os.listdir(tmp_path) if name != "home"] == ["new"]


def test_what_is_left_of_another_file_is_not_kept(lines: Callable[..., tuple[list[str], str]], tmp_path: Path) -> None:
    parts = tmp_path / f".new.downloading-{COMMIT[:12]}" / ".parts"
    parts.mkdir(parents=True)
    (parts / sha256(b"model.safetensors").hexdigest()).write_bytes(b"x" * (1 << 20))
    (parts / sha256(b"config.json").hexdigest()).write_bytes(b"longer than that file is")
    codes, said = lines(["--exclude=*.bin", "me/tiny", "new"], ["--exclude=*.bin", "me/tiny", "new"])
    assert codes == ["code 2", "code 0"], said
    assert "model.safetensors is not what the Hub has: its hash differs" in said
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == LARGE
    assert (tmp_path / "new" / "config.json").read_bytes() == FILES["config.json"]


def test_files_that_have_arrived_are_not_asked_for_again(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state["closed"] = "model.safetensors"
    codes, said = lines(["--exclude=*.bin", "me/tiny", "new"])
    assert codes == ["code 2"]
    assert "the same line goes on" in said
    assert not (tmp_path / "new").exists()
    assert {name for name, _ in _Hub.state["ranges"]} >= {"config.json"}
    _Hub.state |= {"closed": None, "ranges": []}
    codes, said = lines(["--exclude=*.bin", "me/tiny", "new"])
    assert codes == ["code 0"], said
    assert "config.json" not in {name for name, _ in _Hub.state["ranges"]}
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == LARGE
    assert os.listdir(tmp_path) == ["new"]


def test_a_file_that_is_not_what_the_hub_says_is_not_kept(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state["wrong"] = {"config.json": b'{"a": 2}', "model.safetensors": LARGE[:-1] + b"x"}
    codes, said = lines(["--include=config.json", "me/tiny", "new"], ["--include=model*", "me/tiny", "new"])
    assert codes == ["code 2", "code 2"]
    assert "config.json is not what the Hub has: its hash differs" in said
    assert "model.safetensors is not what the Hub has: its hash differs" in said
    assert not (tmp_path / "new").exists()
    _Hub.state.clear()
    assert lines(["--include=*.json,", "--include=config.json", "me/tiny", "new"])[0] == ["code 0"]


def test_a_name_that_leaves_the_folder_or_is_taken_is_refused(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    _Hub.state["more"] = ("../evil.json", "./.downloading.lock", ".parts/x")
    codes, said = lines(*([f"--include={word}", "me/tiny", "new"] for word in ("*evil*", "*.lock", "*parts*")))
    assert codes == ["code 2"] * 3
    for name in _Hub.state["more"]:
        assert f"me/tiny has a file that cannot be downloaded: {name!r}" in said
    assert os.listdir(tmp_path) == []


def test_a_link_that_somebody_has_put_into_the_stage_is_not_followed(
    lines: Callable[..., tuple[list[str], str]], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_bytes(b"kept")
    places = ("original", ".parts", "config.json", f".parts/{sha256(b'config.json').hexdigest()}", "")
    for number, place in enumerate(places):
        link = tmp_path / f".new{number}.downloading-{COMMIT[:12]}" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(victim if place in {"original", ".parts", ""} else victim / "kept")
    owned = tmp_path / f".owned.downloading-{COMMIT[:12]}"
    owned.mkdir()
    targets = [f"new{number}" for number in range(len(places))]
    if os.geteuid() == 0:
        os.chown(owned, 1, 1)
        targets.append("owned")
    codes, said = lines(*(["--include=*.json", "me/tiny", target] for target in targets))
    assert codes == ["code 2"] * len(targets), said
    assert said.count(" is a link, and what is downloaded would go to another place") == len(places), said
    assert ("belongs to another user" in said) == ("owned" in targets)
    assert "Traceback" not in said
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == {"kept": b"kept"}

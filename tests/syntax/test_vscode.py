"""The extension as it is installed: what is in the .vsix, that its grammars are whole, and that its client works."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "syntax" / "vscode"
PACKAGE = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
CLIENT_PACKAGES = {
    "balanced-match",
    "brace-expansion",
    "minimatch",
    "semver",
    "vscode-jsonrpc",
    "vscode-languageclient",
    "vscode-languageserver-protocol",
    "vscode-languageserver-types",
}
SERVER = """\
import json, sys

heard = open({heard!r}, "w", encoding="utf-8")
print(sys.argv[1:], file=heard, flush=True)
answers = {{"initialize": {{"capabilities": {{}}}}}}
while line := sys.stdin.buffer.readline():
    size = int(line.split(b":")[1])
    sys.stdin.buffer.readline()
    message = json.loads(sys.stdin.buffer.read(size))
    print(message["method"], file=heard, flush=True)
    if "id" in message:
        result = {{"jsonrpc": "2.0", "id": message["id"], "result": answers.get(message["method"])}}
        body = json.dumps(result).encode()
        sys.stdout.buffer.write(b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
        sys.stdout.buffer.flush()
    if message["method"] == "exit":
        break
"""


def test_every_file_that_the_extension_names_is_there_and_readable() -> None:
    contributed = PACKAGE["contributes"]
    for named in [*contributed["grammars"], *contributed["snippets"]]:
        assert json.loads((EXTENSION / named["path"]).read_text(encoding="utf-8"))
    scopes = {
        named["scopeName"]: json.loads((EXTENSION / named["path"]).read_text(encoding="utf-8"))["scopeName"]
        for named in contributed["grammars"]
    }
    assert all(named == own for named, own in scopes.items())
    files = {f"./syntaxes/{file.name}" for file in (EXTENSION / "syntaxes").iterdir()}
    assert files == {named["path"] for named in contributed["grammars"]}


def test_yaml_stays_yaml() -> None:
    assert "languages" not in PACKAGE["contributes"]
    assert all(named["injectTo"] == ["source.yaml"] for named in PACKAGE["contributes"]["grammars"])


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {PACKAGE['version']}\n" in (EXTENSION / "CHANGELOG.md").read_text(encoding="utf-8")


def test_versions_of_packages_are_exact_and_no_registry_is_named() -> None:
    for file in [EXTENSION / "package.json", EXTENSION.parent / "fixtures" / "package.json"]:
        found = json.loads(file.read_text(encoding="utf-8"))
        versions = {**found.get("dependencies", {}), **found.get("devDependencies", {})}
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
        assert "://" not in file.read_text(encoding="utf-8")


# ---- the .vsix


@pytest.fixture(scope="session")
def vsix(once: Callable[..., Path], installed: Callable[[Path], Path], program: Callable[..., str]) -> Path:
    def pack(folder: Path) -> None:
        program(["npm", "run", "package", "--", "--out", folder / "forge.vsix"], installed(EXTENSION))

    return once("vsix", pack) / "forge.vsix"


@pytest.fixture
def unpacked(vsix: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(vsix) as packed:
        packed.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / "extension"


@pytest.mark.slow
def test_what_is_packed_is_the_extension_and_what_its_client_needs(vsix: Path) -> None:
    with zipfile.ZipFile(vsix) as packed:
        names = {name.removeprefix("extension/") for name in packed.namelist() if name.startswith("extension/")}
        grammar = json.loads(packed.read("extension/syntaxes/values.tmLanguage.json"))
    own = {name for name in names if not name.startswith("node_modules/")}
    expected = {"package.json", "readme.md", "changelog.md", "client.js", "program.js", "snippets/forge.json"}
    assert own == expected | {f"syntaxes/{file.name}" for file in (EXTENSION / "syntaxes").iterdir()}
    assert grammar == json.loads((EXTENSION / "syntaxes" / "values.tmLanguage.json").read_text(encoding="utf-8"))
    packages = {re.findall(r"node_modules/([^/]+)/", name)[-1] for name in names - own}
    assert packages == CLIENT_PACKAGES
    strange = {
        name for name in names - own if not re.search(r"\.(js|json|sh)$|/licen[cs]e[^/]*$|notices\.txt$", name.lower())
    }
    assert not strange
    assert vsix.stat().st_size < 400_000


@pytest.mark.slow
def test_the_client_speaks_with_the_forge_on_path(unpacked: Path, activate: Callable[..., Any], tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    forge = tmp_path / "bin" / "forge"
    forge.parent.mkdir()
    forge.write_text(f"#!{sys.executable}\n{SERVER.format(heard=str(heard))}")
    forge.chmod(0o755)
    found = activate(unpacked, path=f"{forge.parent}{os.pathsep}{os.environ['PATH']}")
    assert found == {"said": [], "boxes": [], "loaded": True}
    assert heard.read_text().splitlines() == ["['lsp']", "initialize", "initialized", "shutdown", "exit"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pygls") is None, reason="pygls, of the extra lsp, is not installed")
def test_the_client_and_forges_own_server_understand_each_other(
    unpacked: Path, activate: Callable[..., Any], tmp_path: Path
) -> None:
    forge = tmp_path / "forge"
    forge.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m forge "$@"\n')
    forge.chmod(0o755)
    found = activate(unpacked, path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert found == {"said": [], "boxes": [], "loaded": True}


@pytest.mark.slow
def test_a_forge_without_a_language_server_is_said_once(
    unpacked: Path, activate: Callable[..., Any], tmp_path: Path
) -> None:
    forge = tmp_path / "forge"
    forge.write_text("#!/bin/sh\nexit 2\n")
    forge.chmod(0o755)
    found = activate(unpacked, path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    said = found["said"]
    assert len(found["boxes"]) == 1
    assert [line for line in said if "did not start" in line] == said[-1:]


# ---- no server where there should be none


@pytest.fixture(scope="session")
def activate(program: Callable[..., str]) -> Callable[..., Any]:
    """Activates an extension with an editor that only remembers; what it said."""

    def start(extension: Path, *, path: str, **settings: object) -> Any:
        given = {"command": "forge", "files": ["**/configs/**/*.yaml"], **settings}
        script = Path(__file__).with_name("activate.cjs")
        return json.loads(
            program(
                ["node", script, extension, json.dumps(given)], Path(path.split(os.pathsep, maxsplit=1)[0]), PATH=path
            )
        )

    return start


def test_without_a_forge_there_are_colours_only(activate: Callable[..., Any], tmp_path: Path) -> None:
    found = activate(EXTENSION, path=str(tmp_path))
    assert found["loaded"] is False
    assert found["said"] == ['There is no "forge" on PATH: no language server. See the setting forge.command.']


@pytest.mark.parametrize("command", ["", "./forge", "bin/forge"])
def test_what_is_not_a_program_on_path_is_not_started(
    activate: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    for file in (tmp_path / "forge", tmp_path / "bin" / "forge"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    assert activate(EXTENSION, path=str(tmp_path), command=command)["loaded"] is False


def test_a_relative_folder_in_path_does_not_count(activate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "forge").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "forge").chmod(0o755)
    assert activate(EXTENSION, path=f"{tmp_path}{os.pathsep}bin{os.pathsep}.")["loaded"] is False


def test_a_folder_that_is_not_trusted_starts_nothing(activate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "forge").write_text("#!/bin/sh\n")
    (tmp_path / "forge").chmod(0o755)
    found = activate(EXTENSION, path=str(tmp_path), trusted=False)
    assert found == {"said": ["The language server starts once you trust this folder."], "boxes": [], "loaded": False}

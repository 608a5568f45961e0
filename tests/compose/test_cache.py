from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from forge.base.errors import ConfigError, ConfigNotFoundError, ForgeError, OverrideError
from forge.compose import cache, repository
from forge.compose.cache import compose
from forge.compose.composer import compose_fresh
from forge.compose.document import ConfigList, ConfigMap
from forge.compose.project import Project, Root, find_project

sys.path.insert(0, os.path.dirname(__file__))
from hydra_oracle import override_texts, trees, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.compose.composed import Composed
    from forge.compose.document import Setting

FULL = bool(os.environ.get("FORGE_FULL"))

FILES = {
    "main/project.yaml": "name: main\nsearch_path: [data, ./shared]\n",
    "main/configs/run.yaml": """\
defaults:
- base
- model: small
- optional extra: none_yet
- dataset@train: talk
- writer: ${oc.env:FORGE_WRITER,file}
- pair: [one, two]
- _self_
lr: 1
args: {lr: {key: lr, type: int, default: 3}}
""",
    "main/configs/base.yaml": "seed: 1\nlr: 0\n",
    "main/configs/model/small.yaml": "defaults: [/norm: rms]\nsize: 1\n",
    "main/configs/norm/rms.yaml": "eps: 1\n",
    "main/shared/writer/file.yaml": "to: disk\n",
    "main/shared/writer/net.yaml": "to: net\n",
    "main/shared/pair/one.yaml": "a: 1\n",
    "main/shared/pair/two.yaml": "b: 2\n",
    "data/project.yaml": "name: data\n",
    "data/configs/dataset/talk.yaml": "text: hello\n",
}
USED = [name for name in FILES if name != "main/shared/writer/net.yaml"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("FORGE_WRITER", raising=False)
    folder = tmp_path / "projects"
    write_tree(folder, FILES)
    return folder


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files the composer parses: none, when an entry of the cache is used."""
    seen: list[str] = []
    real = repository.parse_document

    def counted(data: bytes, file: str, layer: Any) -> Any:
        seen.append(file)
        return real(data, file, layer)

    monkeypatch.setattr(repository, "parse_document", counted)
    return seen


def project(root: Path) -> Project:
    return find_project(str(root / "main"))


def entries(root: Path) -> list[Path]:
    return sorted((root.parent / "cache" / "composed").glob("*"))


def chain(setting: Setting) -> list[Any]:
    """The origins of a value's whole history, and the values that were replaced."""
    found: list[Any] = [setting.origin]
    earlier = setting.previous
    while earlier is not None:
        found += [earlier.origin, earlier.value]
        earlier = earlier.previous
    return found


def histories(value: Any) -> Any:
    """Every value with its chain of settings, in order."""
    if isinstance(value, ConfigMap):
        return [(key, repr(chain(value.settings[key])), histories(item)) for key, item in value.items()]
    if isinstance(value, ConfigList):
        return [(repr(chain(setting)), histories(item)) for setting, item in zip(value.settings, value, strict=True)]
    assert not isinstance(value, (dict, list))
    return (type(value).__name__, repr(value))


def state(composed: Composed) -> dict[str, Any]:
    return {
        "name": composed.name,
        "tree": histories(composed.tree),
        "files": composed.files,
        "choices": dict(composed.choices),
        "overrides": composed.overrides,
        "variables": dict(composed.variables),
        "arguments": composed.arguments,
        "meta": composed.meta,
    }


def outcome(function: Callable[..., Composed], root: Path, overrides: tuple[str, ...] = ()) -> Any:
    try:
        return state(function(project(root), "run", overrides))
    except ForgeError as error:
        return type(error), str(error)


def check(root: Path, overrides: tuple[str, ...] = ()) -> Any:
    """The cached answer, which is the fresh one, also when asked again."""
    fresh = outcome(compose_fresh, root, overrides)
    assert outcome(compose, root, overrides) == fresh
    assert outcome(compose, root, overrides) == fresh
    return fresh


def test_an_entry_is_used_when_nothing_changed(root: Path, parsed: list[str]) -> None:
    first = compose(project(root), "run")
    assert parsed
    parsed.clear()
    second = compose(project(root), "run")
    assert parsed == []
    assert second is not first
    assert state(second) == state(first)
    assert len(entries(root)) == 1


def test_an_entry_is_used_in_another_process_without_hydra(root: Path) -> None:
    compose(project(root), "run")
    code = (
        "import sys\nfrom forge.compose.cache import compose\nfrom forge.compose.project import find_project\n"
        "print(compose(find_project(sys.argv[1]), 'run').tree['lr'], 'hydra' in sys.modules, 'omegaconf' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root / "main")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]


def test_other_overrides_another_config_and_another_project_have_entries_of_their_own(root: Path) -> None:
    write_tree(root, {"main/configs/other.yaml": "lr: 7\n"})
    assert compose(project(root), "run").tree["lr"] == 1
    assert compose(project(root), "run", ["lr=2"]).tree["lr"] == 2
    assert compose(project(root), "run", [("lr=2", "--lr 2")]).setting(("lr",)).origin.layer == "flag"
    assert compose(project(root), "run", ["lr=2", "lr=3"]).tree["lr"] == 3
    assert compose(project(root), "run", ["lr=3", "lr=2"]).tree["lr"] == 2
    assert compose(project(root), "other").tree["lr"] == 7
    assert len(entries(root)) == 6


def test_changing_a_result_does_not_change_the_next(root: Path) -> None:
    for _ in range(2):
        found = compose(project(root), "run")
        assert found.tree["train"]["text"] == "hello"
        found.tree["train"]["text"] = "broken"
        found.tree["pair"]["new"] = 1


# ---- never stale


@pytest.mark.parametrize("name", USED)
def test_an_edit_of_a_file_that_took_part_is_noticed(root: Path, name: str) -> None:
    before = check(root)
    path = root / name
    old = path.read_text()
    path.write_text(old + ("edited: 1\n" if "project" not in name else "description: edited\n"))
    after = check(root)
    assert (after != before) == ("project" not in name)
    path.write_text(old)
    assert check(root) == before
    path.write_text("{")
    assert check(root)[0] is not None
    path.write_text(old)
    assert check(root) == before


@pytest.mark.parametrize("name", [name for name in USED if "project" not in name and "run" not in name])
def test_an_edit_that_keeps_size_and_time_is_noticed(root: Path, name: str) -> None:
    path = root / name
    check(root)
    old, found = path.read_text(), path.stat()
    swapped = old.replace("1", "8").replace("2", "9").replace("hello", "jello").replace("disk", "dusk")
    assert len(swapped) == len(old)
    assert swapped != old
    path.write_text(swapped)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_mtime_ns == found.st_mtime_ns
    assert any(word in str(check(root)) for word in ("'8'", "'9'", "jello", "dusk"))


@pytest.mark.parametrize("name", USED)
def test_removing_a_file_that_took_part_is_noticed(root: Path, name: str) -> None:
    before = check(root)
    (root / name).rename(root / "aside")
    if name != "main/project.yaml":
        check(root)
    (root / "aside").rename(root / name)
    assert check(root) == before


@pytest.mark.parametrize(
    "name",
    [
        "main/configs/dataset/talk.yaml",
        "main/configs/writer/file.yaml",
        "data/configs/writer/file.yaml",
        "main/configs/pair/two.yaml",
        "data/configs/pair/one.yaml",
        "main/configs/extra/none_yet.yaml",
        "main/shared/extra/none_yet.yaml",
        "../user/configs/extra/none_yet.yaml",
    ],
)
def test_a_new_file_that_wins_a_lookup_is_noticed_and_so_is_its_going(root: Path, name: str) -> None:
    before = check(root)
    write_tree(root, {name: "winner: true\n"})
    after = check(root)
    assert "winner" in str(after)
    (root / name).unlink()
    assert check(root) == before


def test_a_file_that_loses_every_lookup_does_not_matter(root: Path, parsed: list[str]) -> None:
    compose(project(root), "run")
    parsed.clear()
    write_tree(root, {"../user/configs/model/small.yaml": "loser: 1\n", "main/configs/unrelated.yaml": "x: 1\n"})
    assert "loser" not in compose(project(root), "run").tree
    assert parsed == []


def test_a_key_that_becomes_a_group_is_noticed_and_so_is_its_going(root: Path) -> None:
    overrides = ("seed=other",)
    assert compose(project(root), "run", overrides).tree["seed"] == "other"
    write_tree(root, {"main/shared/seed/other.yaml": "y: 1\n"})
    assert check(root, overrides)[0] in (OverrideError, ConfigNotFoundError)
    (root / "main/shared/seed/other.yaml").unlink()
    check(root, overrides)
    (root / "main/shared/seed").rmdir()
    assert compose(project(root), "run", overrides).tree["seed"] == "other"


def test_a_changed_variable_of_a_defaults_list_is_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compose(project(root), "run").tree["writer"] == {"to": "disk"}
    monkeypatch.setenv("FORGE_WRITER", "net")
    assert compose(project(root), "run").tree["writer"] == {"to": "net"}
    monkeypatch.setenv("FORGE_WRITER", "gone")
    assert check(root)[0] is ConfigNotFoundError
    monkeypatch.delenv("FORGE_WRITER")
    assert compose(project(root), "run").tree["writer"] == {"to": "disk"}


def test_a_changed_variable_of_a_choice_on_the_command_line_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, wanted in (("net", "net"), ("file", "disk"), ("net", "net")):
        monkeypatch.setenv("FORGE_CHOICE", value)
        assert compose(project(root), "run", ["writer=${oc.env:FORGE_CHOICE}"]).tree["writer"] == {"to": wanted}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "file")
    with pytest.raises(ConfigError, match="may not be read"):
        compose(project(root), "run", ["writer=${oc.env:AWS_SECRET_ACCESS_KEY}"])


def test_a_changed_variable_that_decides_over_an_override_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(root, {"main/configs/run.yaml": "lr: ${oc.env:FORGE_LR,null}\n"})
    monkeypatch.delenv("FORGE_LR", raising=False)
    assert compose(project(root), "run", ["+lr=1"]).tree["lr"] == 1
    monkeypatch.setenv("FORGE_LR", "5")
    assert check(root, ("+lr=1",))[0] is OverrideError


def test_another_project_of_the_same_name_that_wins_is_noticed(root: Path) -> None:
    before = check(root)
    write_tree(
        root,
        {
            "main/project.yaml": "name: main\nsearch_path: [./nearer, data, ./shared]\n",
            "main/nearer/dataset/talk.yaml": "text: nearer\n",
        },
    )
    assert "nearer" in str(check(root))
    write_tree(root, {"main/project.yaml": FILES["main/project.yaml"]})
    assert check(root) == before


def test_hydras_search_path_depends_on_the_current_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(
        root,
        {
            "main/configs/run.yaml": "defaults: [place: here]\nhydra: {searchpath: [more]}\n",
            "one/more/place/here.yaml": "at: one\n",
            "two/more/place/here.yaml": "at: two\n",
        },
    )
    for folder in ("one", "two", "one"):
        monkeypatch.chdir(root / folder)
        assert compose(project(root), "run").tree["place"] == {"at": folder}


def test_a_link_that_points_elsewhere_is_noticed(root: Path) -> None:
    path = root / "main/configs/base.yaml"
    path.rename(root / "first")
    (root / "second").write_text("seed: 2\n")
    path.symlink_to(root / "first")
    assert compose(project(root), "run").tree["seed"] == 1
    path.unlink()
    path.symlink_to(root / "second")
    assert compose(project(root), "run").tree["seed"] == 2


def test_a_file_that_becomes_too_large_or_a_folder_is_noticed(root: Path) -> None:
    path = root / "main/configs/base.yaml"
    old = path.read_text()
    before = check(root)
    with path.open("ab") as file:
        file.truncate(9_000_000)
    check(root)
    path.unlink()
    path.mkdir()
    check(root)
    path.rmdir()
    path.write_text(old)
    assert check(root) == before


def test_a_change_of_the_composer_itself_is_noticed(
    root: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part = tmp_path / "part.py"
    part.write_text("one")
    own = cache._own_files()
    assert {os.path.basename(file) for file in own} >= {"merge.py", "document.py", "paths.py", "overrides.py"}
    monkeypatch.setattr(cache, "_own_files", lambda: (*own, str(part)))
    cache._own_digest.cache_clear()
    compose(project(root), "run")
    parsed.clear()
    compose(project(root), "run")
    assert parsed == []
    part.write_text("two")
    cache._own_digest.cache_clear()  # as in a new process: a running one is what it was when it began
    compose(project(root), "run")
    assert parsed
    monkeypatch.undo()
    cache._own_digest.cache_clear()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    files=trees(),
    changes=st.lists(
        st.tuples(st.sampled_from(["edit", "remove", "add", "group", "earlier"]), st.integers(0, 50)),
        min_size=1,
        max_size=4,
    ),
    overrides=st.lists(override_texts(), max_size=2),
)
def test_after_any_change_the_answer_is_the_fresh_one(
    files: dict[str, str], changes: list[tuple[str, int]], overrides: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGE_CACHE_HOME", os.path.join(scratch, "cache"))
        first, second = Path(scratch, "first"), Path(scratch, "second")
        first.mkdir()
        write_tree(second, files)
        made = Project("p", "", scratch, None, (Root(str(first), "project"), Root(str(second), "library")), ())

        def answer(function: Callable[..., Composed]) -> Any:
            try:
                return state(function(made, "config", overrides))
            except ForgeError as error:
                return type(error), str(error)

        assert answer(compose) == answer(compose_fresh)
        names = sorted(files)
        for kind, number in changes:
            name = names[number % len(names)]
            if kind == "edit" and (second / name).exists():
                (second / name).write_text(files[name] + f"\nk{number}: {number}\n")
            elif kind == "remove":
                (second / name).unlink(missing_ok=True)
            elif kind == "add":
                write_tree(second, {f"db/new{number}.yaml": "x: 1\n", name: files[name]})
            elif kind == "group":
                (second / "xyz"[number % 3]).mkdir(exist_ok=True)
            else:
                write_tree(first, {name: f"early: {number}\n"})
            assert answer(compose) == answer(compose_fresh)
            assert answer(compose) == answer(compose_fresh)


@settings(max_examples=100 if FULL else 25, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=trees(), overrides=st.lists(override_texts(), max_size=3))
def test_a_remembered_composition_has_every_origin_and_history_of_the_fresh_one(
    files: dict[str, str], overrides: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGE_CACHE_HOME", os.path.join(scratch, "cache"))
        write_tree(Path(scratch, "c"), files)
        made = Project("p", "", scratch, None, (Root(os.path.join(scratch, "c"), "project"),), ())
        try:
            fresh = compose_fresh(made, "config", overrides)
        except ForgeError:
            assume(False)
        compose(made, "config", overrides)
        patch.setattr(cache, "compose_fresh", None)  # from here on, only the cache can answer
        assert state(compose(made, "config", overrides)) == state(fresh)


# ---- damage


def test_a_damaged_entry_is_computed_again_and_never_believed(root: Path, parsed: list[str]) -> None:
    wanted = state(compose(project(root), "run"))
    [entry] = entries(root)
    good = entry.read_bytes()
    for position in range(0, len(good), 50):
        entry.write_bytes(good[:position] + bytes([good[position] ^ 0x55]) + good[position + 1 :])
        parsed.clear()
        assert state(compose(project(root), "run")) == wanted, position
        assert parsed, position
        assert len(entries(root)) == 1
        assert entry.read_bytes()[:32] == good[:32]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 100, -1])
def test_a_truncated_entry_is_computed_again(root: Path, parsed: list[str], length: int) -> None:
    wanted = state(compose(project(root), "run"))
    [entry] = entries(root)
    entry.write_bytes(entry.read_bytes()[:length])
    parsed.clear()
    assert state(compose(project(root), "run")) == wanted
    assert parsed


@pytest.mark.parametrize("kind", ["huge", "longer", "folder", "pipe", "dangling"])
def test_an_entry_that_is_something_else_is_computed_again(root: Path, kind: str) -> None:
    wanted = state(compose(project(root), "run"))
    [entry] = entries(root)
    if kind == "huge":
        os.truncate(entry, 100 * 1024 * 1024)
    elif kind == "longer":
        entry.write_bytes(entry.read_bytes() + b"x")
    else:
        entry.unlink()
        if kind == "folder":
            entry.mkdir()
        elif kind == "pipe":
            os.mkfifo(entry)
        else:
            entry.symlink_to(root / "gone")
    assert state(compose(project(root), "run")) == wanted
    assert state(compose(project(root), "run")) == wanted


@pytest.mark.parametrize("kind", ["file", "under a file", "entries are a file", "dangling"])
def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = root.parent / "other"
    if kind == "file":
        place.write_text("x")
    elif kind == "under a file":
        place.write_text("x")
        place = place / "cache"
    elif kind == "entries are a file":
        place.mkdir()
        (place / "composed").write_text("x")
    else:
        place.symlink_to(root / "gone" / "far")
    monkeypatch.setenv("FORGE_CACHE_HOME", str(place))
    assert compose(project(root), "run").tree["lr"] == 1
    assert compose(project(root), "run").tree["lr"] == 1


def test_two_processes_at_once_both_get_the_answer(root: Path) -> None:
    code = (
        "import sys\nfrom forge.compose.cache import compose\nfrom forge.compose.project import find_project\n"
        "found = find_project(sys.argv[1])\n"
        "for number in range(40):\n"
        "    assert compose(found, 'run', [f'lr={number % 4}']).tree['lr'] == number % 4\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(root / "main")], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(entries(root)) == 4
    assert not [entry for entry in entries(root) if entry.name.startswith(".")]


def test_only_the_newest_entries_are_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MAX_ENTRIES", 5)
    for number in range(8):
        compose(project(root), "run", [f"lr={number}"])
        newest = max(entries(root), key=lambda entry: entry.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(entries(root)) == 5


# ---- secrets and mistakes


def test_entries_can_be_read_by_their_user_only(root: Path) -> None:
    old = os.umask(0)
    try:
        compose(project(root), "run", ["+api_key=hunter2"])
    finally:
        os.umask(old)
    [entry] = entries(root)
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700


def test_a_folder_that_others_could_enter_is_closed(root: Path) -> None:
    folder = root.parent / "cache" / "composed"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    compose(project(root), "run")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_composition_with_mistakes_is_not_remembered(root: Path) -> None:
    problems: list[ForgeError] = []
    compose(project(root), "run", ["gone=1", "lr=2"], problems=problems)
    assert len(problems) == 1
    assert entries(root) == []
    problems.clear()
    compose(project(root), "run", ["gone=1", "lr=2"], problems=problems)
    assert len(problems) == 1
    with pytest.raises(OverrideError):
        compose(project(root), "run", ["gone=1", "lr=2"])


def test_special_values_survive(root: Path) -> None:
    overrides = [
        "+v=[inf,-inf,nan,-0.0,1e-300,123456789012345678901234567890,true,null,'','é','???','${lr}']",
        "+w={1:a,2.5:b,x:c}",
    ]
    fresh = compose_fresh(project(root), "run", overrides)
    compose(project(root), "run", overrides)
    found = compose(project(root), "run", overrides)
    assert state(found) == state(fresh)
    assert repr(found.tree["v"]) == repr(fresh.tree["v"])
    assert list(found.tree["w"]) == [1, 2.5, "x"]

"""What holds for every verb: wrong lines, broken files and odd places are answered in three lines and exit code 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.main import main
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Done, Editor, Run

    from forge.cli.options import Option
    from forge.cli.registry import Verb

ON_A_CONFIG = [
    ["show"],
    ["trefs"],
    ["graph"],
    ["code"],
    ["targets"],
    ["build"],
    ["why", "mode"],
    ["diff", "mode=slow"],
    ["check"],
    ["edit", "--list"],
    ["save-as", "new", "--dry-run"],
    ["train", "--dry-run"],
]
# What a config describes is made or read by another process, once the line and the config are right.
IN_A_PROCESS = [["eval"], ["data", "stats"], ["model", "show"], ["ckpt", "ls"], ["peek"], ["step"], ["plan"]]
ON_A_PROJECT = [["ls"], ["index"], ["schema"], ["trust"]]
ON_NEITHER = [
    ["convert"],
    ["cp"],
    ["doctor"],
    ["download"],
    ["export"],
    ["new"],
    ["help"],
    ["completion"],
    ["__complete"],
    ["lsp"],
    ["inf"],
    ["tb"],
]
ON_JOBS = [
    ["abort"],
    ["attach"],
    ["cleanup"],
    ["control", "status"],
    ["runs", "report"],
    ["jobs"],
    ["logs"],
    ["save"],
    ["stop"],
]
BROKEN = {
    "not YAML": b"a: [\n",
    "a tab": b"a:\n\tb: 1\n",
    "a key twice": b"a: 1\na: 2\n",
    "a list": b"- 1\n",
    "a text": b"text\n",
    "bytes": bytes(range(256)),
    "another encoding": "a: é\n".encode("latin-1"),
    "a nothing": b"a: \0\n",
    "a misspelt choice": b"defaults: [{size: smal}]\n",
    "a misspelt group": b"defaults: [{siez: small}]\n",
    "itself": b"defaults: [broken, _self_]\n",
    "a code tag": b"a: !!python/object/apply:os.system [ls]\n",
    "wrong flags": b"args: [1]\na: 1\n",
    "a bomb": b"a: &a [x, x]\nb: &b [*a, *a]\n" + b"c: [" + b"*b, " * 100_000 + b"]\n",
    "depth": b"a: " + b"[" * 5000,
}
GONE = """\
error: the current folder cannot be read: No such file or directory
  change to a folder that is there: cd ~
"""
UNICODE = (
    'meta: {description: "日本 é 🙂"}\n"ключ": "значение 🙂"\ntrainer: {_target_: builtins.dict, "ä": "значение"}\n'
)


def _writes(name: str) -> bool:
    """Whether the verb has ``-o``."""
    return any("-o" in option.names for option in VERBS.find(name).options)


def by_first_word(words: list[str]) -> str:
    return " ".join(words)


def assert_refused(done: Done) -> None:
    """Exit 2, and a message of at most three lines that is no traceback."""
    assert done.code == 2
    said = done.errors or done.out  # what check finds is its result
    assert said.strip()
    assert len(done.errors.splitlines()) <= 3
    assert "Traceback" not in said
    assert "internal error" not in said


def test_every_verb_has_its_line_here() -> None:
    assert {words[0] for words in (*ON_A_CONFIG, *IN_A_PROCESS, *ON_A_PROJECT, *ON_NEITHER, *ON_JOBS)} == {
        verb.name for verb in VERBS.all
    }
    assert {words[0] for words in (*ON_A_CONFIG, *IN_A_PROCESS)} == {
        verb.name for verb in VERBS.all if verb.takes_config
    }


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS], ids=by_first_word)
@pytest.mark.parametrize("name", BROKEN)
def test_a_config_that_does_not_compose_is_a_mistake_for_every_verb(
    run: Run, project: Path, name: str, words: list[str]
) -> None:
    (project / "configs" / "broken.yaml").write_bytes(BROKEN[name])
    assert_refused(run("-t", "broken", *words))


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS], ids=by_first_word)
@pytest.mark.parametrize(
    "change",
    [
        "nosuch=1",
        "size=smal",
        "a=[",
        "mode=a,b",
        "=1",
        "x",
        "--nosuch",
        "--max-steps=many",
        "-M",
        "trainer.x=ü=[",
        "\n\n\n\n",
    ],
)
def test_a_wrong_word_is_a_mistake_for_every_verb(run: Run, words: list[str], change: str) -> None:
    assert_refused(run(*words, change))


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS, *ON_A_PROJECT], ids=by_first_word)
@pytest.mark.parametrize(
    "text",
    ["nmae: demo\n", "name: demo\nnosuch: 1\n", "[]\n", "name: [1]\n", "name: demo\nsearch_path: [nosuch]\n", "a: ["],
)
def test_a_wrong_project_file_is_a_mistake_for_every_verb(run: Run, project: Path, text: str, words: list[str]) -> None:
    (project / "project.yaml").write_text(text)
    done = run(*words)
    assert_refused(done)
    assert "project.yaml:" in done.errors


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS, *ON_A_PROJECT], ids=by_first_word)
@pytest.mark.parametrize(
    "flags", [["-p", "nosuch"], ["-p", ""], ["-p", "/dev/null/x"], ["-t", ""], ["-t="], ["--config="]], ids=" ".join
)
def test_a_wrong_choice_before_the_verb_is_a_mistake(run: Run, words: list[str], flags: list[str]) -> None:
    assert_refused(run(*flags, *words))


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS], ids=by_first_word)
def test_a_config_that_is_not_there_is_a_mistake(run: Run, words: list[str]) -> None:
    for name in ("nosuch", "tiny.yml", "../project", "size", "日本", "x" * 5000, "a\nb\nc\nd", "\0"):
        if words[0] != "diff" or words[1:] == ["mode=slow"]:
            assert_refused(run("-t", name, *words))


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *IN_A_PROCESS, *ON_A_PROJECT], ids=by_first_word)
def test_where_the_current_folder_is_gone_every_verb_says_so(
    run: Run, empty: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("completion", "bash", cwd=empty).code == 0
    empty.rmdir()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == GONE


@pytest.mark.parametrize("words", [*ON_A_CONFIG, *ON_A_PROJECT], ids=by_first_word)
@pytest.mark.parametrize("kind", ["CACHE", "CONFIG", "DATA"])
def test_a_user_without_folders_can_look_at_everything(
    run: Run, words: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words[0] == "build" and kind == "DATA":
        return  # building may ask what is trusted
    for place in ("/dev/null", "/dev/null/below"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", place)
        done = run(*words)
        assert done.code in ({1} if words[0] == "diff" else {0}), done.errors
        assert done.errors == ""


@pytest.mark.parametrize("verb", [verb for verb in VERBS.all if not verb.hidden], ids=lambda verb: verb.name)
def test_a_wrong_flag_is_a_mistake_for_every_verb(run: Run, verb: Verb) -> None:
    needed = [
        positional.choices[0] if positional.choices else "x" for positional in verb.positionals if positional.least
    ]
    for words in (["--nosuch"], ["-Z"], ["--help=1"], ["--json=yes"], ["-t", "tiny"], ["--debug"], ["-"], ["", ""]):
        if verb.name != "download" or words not in (["--debug"], ["-"]):  # with these it asks the Hub
            assert_refused(run(verb.name, *needed, *words))


@pytest.mark.parametrize(
    ("verb", "option"),
    [(verb, option) for verb in VERBS.all for option in verb.options if option.value],
    ids=lambda one: one.name,
)
def test_a_flag_without_its_value_is_a_mistake(run: Run, verb: Verb, option: Option) -> None:
    for name in option.names:
        for words in ([name], [name, ""], [name, "--json"]):
            done = run(verb.name, *words)
            assert_refused(done)
            assert f"{name} needs {option.value}" in done.errors or f"{name} cannot be ''" in done.errors


@pytest.mark.parametrize(
    "words", [words for words in (*ON_A_CONFIG, *ON_A_PROJECT) if _writes(words[0])], ids=by_first_word
)
@pytest.mark.parametrize("path", ["nosuch/x", "configs", "new/", "/dev/full", "project.yaml/x"])
def test_a_file_that_cannot_be_written_is_a_mistake_for_every_verb(run: Run, words: list[str], path: str) -> None:
    if words[0] == "schema" and path in ("configs", "new/"):
        return  # it writes a folder
    done = run(*words, "-o", path)
    assert_refused(done)
    assert path in done.errors
    assert done.out == ""


@pytest.mark.parametrize(
    "words",
    [words for words in (*ON_A_CONFIG, *ON_A_PROJECT) if _writes(words[0]) and words[0] != "schema"],  # writes a folder
    ids=by_first_word,
)
def test_what_can_be_written_can_be_opened(run: Run, editor: Editor, words: list[str]) -> None:
    shown = run(*words)
    done = run(*words, "-e")
    assert (done.code, done.out, done.errors) == (shown.code, "", "")
    assert editor.text == shown.out


@pytest.mark.parametrize("words", [words for words in ON_A_CONFIG if words[0] != "diff"], ids=by_first_word)
def test_a_config_in_any_script_is_a_config(run: Run, project: Path, words: list[str]) -> None:
    (project / "configs" / "ünï-日本.yaml").write_text(UNICODE, encoding="utf-8")
    words = ["why", "ключ"] if words[0] == "why" else words
    done = run("-t", "ünï-日本", *words)
    assert (done.code, done.errors) == (0, "")


@pytest.mark.parametrize("words", ON_JOBS, ids=by_first_word)
def test_a_job_that_is_not_there_is_a_mistake(run: Run, words: list[str]) -> None:
    for name in ("nosuch", "../x", "日本-1", "x" * 5000, "a\nb", "\0"):
        assert_refused(run(*words, name))
    assert_refused(run(*words, "a", "b"))


def test_the_value_of_a_secret_is_in_no_output(run: Run) -> None:
    for words in (*ON_A_CONFIG, ["why", "api_key"], ["diff", "api_key=other"], ["graph", "--format", "html"]):
        done = run(*words, "+trainer.key=${api_key}", "+trainer.login='me:${api_key}'")
        assert "hunter2" not in done.out + done.errors

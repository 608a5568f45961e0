from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.origin import Origin
from forge.base.secrets import MASK
from forge.render.excerpts import excerpts, names_secret

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str, name: str = "config.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_line_is_given_without_its_indent(tmp_path: Path) -> None:
    file = written(tmp_path, "a: 1\n  lr: 3e-4  # peak\n")
    assert excerpts([Origin(file, 2)], []) == {(file, 2): "lr: 3e-4  # peak"}


def test_lines_are_counted_by_the_line_breaks_of_yaml(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes("a: 1\r\nb: 2\rc: '\x0c'\u2028d: 4\u0085e: 5\n".encode())
    found = excerpts([Origin(str(file), line) for line in range(1, 6)], [])
    assert [found[str(file), line] for line in range(1, 6)] == ["a: 1", "b: 2", "c: '\\x0c'", "d: 4", "e: 5"]


def test_what_cannot_be_read_has_no_lines(tmp_path: Path) -> None:
    other = written(tmp_path, "root:x:0:0\n", "passwd")
    (tmp_path / "folder.yaml").mkdir()
    file = written(tmp_path, "a: 1\n")
    places = [
        Origin(other, 1),
        Origin(str(tmp_path / "folder.yaml"), 1),
        Origin(str(tmp_path / "gone.yaml"), 1),
        Origin("", 0, layer="override", text="a=1"),
        Origin(file, 99),
        Origin(file, 0),
    ]
    assert excerpts(places, []) == {}


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = written(tmp_path, "a: 1\n" + "#" * (9 * 1024 * 1024))
    assert excerpts([Origin(file, 1)], []) == {}


def test_a_long_line_is_shortened_and_shows_no_control_characters(tmp_path: Path) -> None:
    file = written(tmp_path, "a: " + "x" * 5000 + "\nb: '\x1b[31m'\n")
    found = excerpts([Origin(file, 1), Origin(file, 2)], [])
    assert len(found[file, 1]) == 200
    assert found[file, 2] == "b: '\\x1b[31m'"


def test_lines_of_secrets_are_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, "hub:\n  value: hunter2\n  user: me\n")
    found = excerpts([Origin(file, 1), Origin(file, 2), Origin(file, 3)], [Origin(file, 2)])
    assert found == {(file, 1): "hub:", (file, 3): "user: me"}


def test_a_line_that_names_a_secret_is_left_out_whoever_asks(tmp_path: Path) -> None:
    file = written(tmp_path, "hub: {api_key: hunter2, user: me}\npad_token: <pad>\n")
    assert excerpts([Origin(file, 1), Origin(file, 2)], []) == {(file, 2): "pad_token: <pad>"}


def test_the_value_of_a_secret_may_go_on_below_its_key(tmp_path: Path) -> None:
    file = written(tmp_path, "code: |\n  hunter2\n  swordfish\nhub: {code:\n  hunter3, user: me}\nlr: 1\n")
    shown = [Origin(file, line) for line in range(1, 7)]
    found = excerpts(shown, [Origin(file, 1), Origin(file, 4)])
    assert found == {(file, 6): "lr: 1"}


def test_names_of_secrets_are_found_in_texts() -> None:
    assert names_secret("hub={api_key: hunter2}")
    assert names_secret("++logging.wandb.api_key=hunter2")
    assert not names_secret("tokenizer.pad_token=<pad>")
    assert not names_secret(f"hub.api_key={MASK}")

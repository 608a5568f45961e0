from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forge.base.errors import FileError
from forge.base.locks import claim
from forge.control import record as record_module
from forge.control.processes import Identity
from forge.control.record import (
    JobRecord,
    add_record,
    change_record,
    job_records,
    jobs_folder,
    moment,
    read_record,
    remove_records,
)

MADE = JobRecord(
    config="pretrain/tiny", project="demo", run="/run", host="here", user="me", started="2026-01-01T00:00:00+00:00"
)
WHOLE = {"id": "new-1", "config": "new", "project": "p", "run": "/r", "host": "h", "user": "u", "started": moment()}
# Adds jobs, and changes one that every process changes.
WRITER = """
import sys
from dataclasses import replace
from forge.control.record import add_record, change_record, read_record
record = read_record("shared-1")
for number in range(10):
    add_record(replace(record, config="tiny"))
    change_record("shared-1", **({"code": number} if sys.argv[1] == "0" else {"asked": str(number)}))
"""


def test_a_record_comes_back_as_it_was_written() -> None:
    full = replace(
        MADE,
        overrides=("a=1", "b=[1, 2]"),
        console="/run/log",
        starter=Identity(1, "x"),
        keeper=Identity(2, "y"),
        process=Identity(3, "z"),
        asked="abort",
        ended=moment(),
        code=1,
    )
    added = add_record(full)
    assert added == replace(full, id="tiny-1")
    assert read_record("tiny-1") == added
    assert job_records() == [added]


@pytest.mark.parametrize(
    ("config", "id_"),
    [
        ("tiny", "tiny-1"),
        ("a/b/llama2_7b", "llama2_7b-1"),
        ("ünï 日本", "ünï-日本-1"),
        ("..", "job-1"),
        ("a;b c", "a-b-c-1"),
        ("x" * 500, "x" * 40 + "-1"),
        ("tiny-2", "tiny-2-1"),
    ],
)
def test_an_id_is_short_and_needs_no_quotes(config: str, id_: str) -> None:
    assert add_record(replace(MADE, config=config)).id == id_
    assert read_record(id_) is not None


def test_a_number_is_not_used_again_while_a_later_job_is_known() -> None:
    assert [add_record(MADE).id for _ in range(10)][-1] == "tiny-10"
    remove_records(["tiny-3"])
    assert add_record(MADE).id == "tiny-11"
    assert add_record(replace(MADE, config="tiny-10")).id == "tiny-10-1"


def test_only_its_user_can_read_it() -> None:
    add_record(MADE)
    folder = Path(jobs_folder())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "tiny-1.json").stat().st_mode) == 0o600


def test_a_change_is_seen_at_once_and_keeps_the_rest() -> None:
    add_record(MADE)
    for code in range(20):
        changed = change_record("tiny-1", code=code)
        assert changed is not None
        assert changed.code == code
        assert read_record("tiny-1") == changed
    assert change_record("tiny-1", asked="abort") == replace(MADE, id="tiny-1", code=19, asked="abort")


def test_what_is_not_there_or_not_a_record_is_no_job() -> None:
    assert job_records() == []
    assert read_record("tiny-1") is None
    add_record(MADE)
    folder = Path(jobs_folder())
    for number, text in enumerate(
        (
            "",
            "[",
            "[]",
            "{}",
            '{"config": 1}',
            "\0",
            json.dumps({**WHOLE, "started": "soon"}),
            json.dumps({**WHOLE, "keeper": 1}),
        )
    ):
        (folder / f"bad-{number}.json").write_text(text)
    assert [record.id for record in job_records()] == ["tiny-1"]
    remove_records(["tiny-1", "tiny-1"])
    assert change_record("tiny-1", code=1) is None
    assert read_record("../jobs/tiny-1") is None
    assert read_record("a\0b") is None
    (folder / "new-1.json").write_text(json.dumps({**WHOLE, "added_later": 1}))
    assert [record.id for record in job_records()] == ["new-1"]


def test_several_shells_lose_nothing_of_each_other() -> None:
    add_record(replace(MADE, config="shared"))
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(number)]) for number in range(2)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    shared = read_record("shared-1")
    assert shared is not None
    assert (shared.code, shared.asked) == (9, "9")
    assert {record.id for record in job_records()} == {"shared-1"} | {f"tiny-{number + 1}" for number in range(20)}
    assert min(os.listdir(jobs_folder())) == ".lock"
    assert not [name for name in os.listdir(jobs_folder()) if name.endswith(".tmp")]


def test_who_holds_the_list_for_long_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    add_record(MADE)
    monkeypatch.setattr(record_module, "_PATIENCE", 0.05)
    held = claim(os.path.join(jobs_folder(), ".lock"))
    assert held is not None
    with pytest.raises(FileError, match="held by another process"):
        add_record(MADE)
    held.release()
    add_record(MADE)

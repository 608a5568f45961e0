from __future__ import annotations

import pytest

from forge.cli.known import FILES, FOLDERS, Candidate, Value


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (Value("100", type="int", place="trainer/default.yaml:4"), "100, int, trainer/default.yaml:4"),
        (Value("fast", choices=("fast", "slow"), type="str"), "fast, fast | slow"),
        (Value("", inner=True, type="3 keys"), "3 keys"),
        (Value(""), ""),
    ],
)
def test_a_value_says_what_it_is_what_it_may_be_and_who_set_it(value: Value, meaning: str) -> None:
    assert value.meaning == meaning


def test_files_and_folders_stand_for_names_that_only_the_disk_knows() -> None:
    assert (FILES.text, FOLDERS.text) == ("", "")
    assert FILES != FOLDERS
    assert Candidate("show").meaning == ""

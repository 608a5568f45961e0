from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import UsageError
from forge.launch.torchrun import FLAGS, SWITCHES, joined_conf, split_conf, torchrun_command, torchrun_words


def test_flags_are_read_however_they_are_written() -> None:
    given = torchrun_words(["--nnodes=2", "--nproc_per_node", "4", "-t", "3", "--standalone", "--rdzv-conf", "a=1,b=2"])
    assert given == {"nnodes": "2", "nproc-per-node": "4", "tee": "3", "standalone": "", "rdzv-conf": "a=1,b=2"}
    assert torchrun_words(["--nnodes=2", "--nnodes=3"]) == {"nnodes": "3"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--nproc", "3"], "did you mean '--nproc-per-node'"),
        (["--nnodes"], "needs a value"),
        (["--standalone=1"], "takes no value"),
        (["-m", "x"], "is not for a run of forge"),
        (["--no-python"], "is not for a run of forge"),
        (["tiny"], "forge -t tiny train"),
        (["--nnodes", "2", "extra"], "does not know what to do with 'extra'"),
    ],
)
def test_what_torchrun_would_not_understand(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        torchrun_words(words)


@pytest.mark.parametrize(
    ("flag", "wrong", "right"),
    [
        ("nproc-per-node", ["abc", "-2", "0", "1.5", ""], ["1", "16", "auto", "gpu", "cpu", "xpu"]),
        ("max-restarts", ["x", "-1"], ["0", "3"]),
        ("monitor-interval", ["0", "0.0", "-1", "x"], ["1", "0.1", ".5", "1e-3"]),
        ("redirects", ["9", "x", "0:9", "0:1,"], ["0", "3", "0:3,1:0"]),
        ("tee", ["4"], ["3", "0:2"]),
        ("start-method", ["thread"], ["spawn"]),
        ("numa-binding", ["x"], ["core-complex"]),
        ("local-ranks-filter", ["x", "0,"], ["0", "0,1"]),
        ("shutdown-timeout", ["x"], ["30"]),
        ("node-rank", ["-1", "x"], ["0"]),
        ("master-port", ["x"], ["29500"]),
    ],
)
def test_values_are_what_torchrun_takes(flag: str, wrong: list[str], right: list[str]) -> None:
    for value in right:
        assert torchrun_words([f"--{flag}", value]) == {flag: value}
    for value in wrong:
        with pytest.raises(UsageError, match=f"torchrun's --{flag} is .*, not '{value}'"):
            torchrun_words([f"--{flag}={value}"])


@pytest.mark.torch
def test_the_values_are_those_that_torchrun_has() -> None:
    from torch.distributed.elastic.multiprocessing.api import Std
    from torch.distributed.run import get_args_parser

    choices = {action.dest: action.choices for action in get_args_parser()._actions}
    for name in ("start_method", "numa_binding"):
        for choice in choices[name] or []:
            assert torchrun_words([f"--{name}", choice])
    for value in ("0", "3", "0:3,1:0"):
        Std.from_str(value)


@pytest.mark.torch
def test_the_flags_are_those_that_torchrun_has() -> None:
    from torch.distributed.run import get_args_parser

    known = {name.removeprefix("--"): action for action in get_args_parser()._actions for name in action.option_strings}
    assert {name: known[name].nargs for name in FLAGS} == dict.fromkeys(FLAGS)
    assert {name: known[name].nargs for name in SWITCHES} == dict.fromkeys(SWITCHES, 0)


@pytest.mark.torch
@given(
    id_=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    endpoint=st.text(min_size=1),
)
def test_torchrun_reads_what_is_meant(id_: str, endpoint: str) -> None:
    from torch.distributed.run import parse_args

    command = torchrun_command({"rdzv-id": id_, "rdzv-endpoint": endpoint, "standalone": ""}, "the run")
    read = parse_args(command[command.index("torch.distributed.run") + 1 :])
    assert (read.rdzv_id, read.rdzv_endpoint, read.standalone, read.module) == (id_, endpoint, True, True)
    assert [read.training_script, *read.training_script_args] == ["forge.launch.rank", "forge.ml.train", "the run"]


def test_the_interpreter_and_the_leash_are_part_of_the_command() -> None:
    command = torchrun_command({}, "run", python="/opt/python", leash=True)
    assert command[:5] == ("/opt/python", "-m", "forge.launch.node", "--input", "leash")
    assert command[6:8] == ("/opt/python", "-m")
    assert torchrun_command({}, "run")[0] == sys.executable


def test_the_conf_of_a_rendezvous() -> None:
    assert split_conf(" is_host=true , timeout=60,") == {"is_host": "true", "timeout": "60"}
    assert joined_conf({"is_host": "true", "timeout": "60"}) == "is_host=true,timeout=60"
    with pytest.raises(UsageError, match="name=value"):
        split_conf("is_host")

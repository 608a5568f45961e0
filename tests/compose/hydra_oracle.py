"""Config trees of every shape Hydra's defaults lists allow, and Hydra's own answer for them."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = ("db", "srv", "srv/db", "srv/site", "exp")
CHOICES = ("a", "b", "c")
KEYS = ("x", "y", "z", "db", "srv", "k1")
PACKAGES = ("_global_", "_group_", "_here_", "pkg", "pkg.sub", "_global_.top", "db", "srv.db")


class HydraRefusesError(Exception):
    """Hydra does not compose this."""


class _PatientRepository(CachingConfigRepository):
    """Hydra's own, except that configs which include each other under ever longer packages end in bounded time."""

    asked = 0

    def load_config(self, config_path: str) -> Any:
        self.asked += 1
        if self.asked > 1000:
            raise RecursionError
        return super().load_config(config_path)


config_loader_impl.CachingConfigRepository = _PatientRepository


def hydras_answer(folder: Path, name: str, overrides: list[str]) -> dict[Any, Any]:
    """The plain config that Hydra composes, interpolations unresolved."""
    GlobalHydra.instance().clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with initialize_config_dir(config_dir=os.path.abspath(folder), version_base="1.3"):
            try:
                config = compose(config_name=name, overrides=overrides)
            except (
                HydraException,
                OmegaConfBaseException,
                ValueError,
                AssertionError,
                KeyError,
                TypeError,
                AttributeError,
                RecursionError,
            ) as error:
                raise HydraRefusesError(str(error)) from error
    return OmegaConf.to_container(config, resolve=False)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, width=32),
    st.sampled_from(
        [
            "text",
            "1e-3",
            "yes",
            "???",
            "a b",
            "",
            "0x10",
            "1_000",
            "null",
            "~",
            "12:30",
            "2020-01-01",
            "=",
            ".5",
            "1.",
            "é",
        ]
    ),
    st.sampled_from(["${x}", "${db.y}", "${.y}", "${..x}", "${srv}", "a-${x}-b", "${k1}", "${db}"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
    max_leaves=6,
)
contents = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)


@st.composite
def defaults_lists(draw: st.DrawFn, *, nested_in: str) -> list[Any]:
    """One defaults list; mostly sensible, sometimes not."""
    entries: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        absolute = draw(st.booleans()) or bool(nested_in)
        group = draw(st.sampled_from(GROUPS))
        name = ("/" if absolute and nested_in else "") + group
        package = draw(st.one_of(st.none(), st.none(), st.sampled_from(PACKAGES)))
        optional = draw(st.integers(0, 4)) == 0
        choice: Any = draw(
            st.one_of(
                st.just("a"),
                st.just("a"),
                st.sampled_from(CHOICES),
                st.lists(st.sampled_from(CHOICES), max_size=3, unique=True),
                st.sampled_from([None, "gone", "${db}", "???"]),
            )
        )
        if draw(st.integers(0, 6)) == 0:
            entries.append(
                (f"/{group}/" if nested_in else f"{group}/")
                + draw(st.sampled_from(CHOICES))
                + (f"@{package}" if package else "")
            )
        else:
            entries.append({("optional " if optional else "") + name + (f"@{package}" if package else ""): choice})
    if draw(st.booleans()):
        entries.insert(draw(st.integers(0, len(entries))), "_self_")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        group = draw(st.sampled_from(GROUPS))
        entries.append({"override " + ("/" if nested_in else "") + group: draw(st.sampled_from(CHOICES))})
    return entries


@st.composite
def config_files(draw: st.DrawFn, *, nested_in: str = "") -> str:
    """The text of one config file."""
    header = (
        draw(st.one_of(st.none(), st.none(), st.sampled_from(["_global_", "pkg", "pkg.sub"]))) if nested_in else None
    )
    content = dict(draw(contents))
    if draw(st.integers(0, 2)) > (1 if nested_in else 0):
        content = {"defaults": draw(defaults_lists(nested_in=nested_in)), **content}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else ""
    return (f"# @package {header}\n" if header else "") + body


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str]:
    """A whole config folder: file name -> text."""
    files = {"config.yaml": draw(config_files())}
    for group in GROUPS:
        for choice in ("a", *draw(st.lists(st.sampled_from(CHOICES[1:]), max_size=2, unique=True))):
            files[f"{group}/{choice}.yaml"] = draw(config_files(nested_in=group))
    return files


@st.composite
def override_texts(draw: st.DrawFn) -> str:
    """One override of any form."""
    group = draw(st.sampled_from(GROUPS))
    choice = draw(st.sampled_from(CHOICES))
    key = ".".join(draw(st.lists(st.sampled_from([*KEYS, "new", "0"]), min_size=1, max_size=3)))
    value = draw(
        st.sampled_from(
            [
                "1",
                "null",
                "true",
                "1e-3",
                "abc",
                "'a b'",
                "[1,2]",
                "{x:1}",
                "{x:{y:2}}",
                "${x}",
                "''",
                "???",
                "{k1:3,new:4}",
                "int('3')",
                "str(4)",
                "[{x:1}]",
                "inf",
                "-1",
                "a/b.c",
            ]
        )
    )
    return draw(
        st.sampled_from(
            [
                f"{key}={value}",
                f"+{key}={value}",
                f"++{key}={value}",
                f"++{key}={value}",
                f"+new.{key}={value}",
                f"~{key}",
                f"~{key}={value}",
                f"{group}={choice}",
                f"+{group}={choice}",
                f"+{group}@pkg={choice}",
                f"{group}@pkg={choice}",
                f"~{group}",
                f"~{group}={choice}",
                f"{group}=[{choice},a]" if choice != "a" else f"{group}=[b]",
                f"{group}=null",
            ]
        )
    )


def write_tree(folder: Path, files: dict[str, str]) -> None:
    """Lay the files out on disk."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

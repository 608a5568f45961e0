"""The third depth of ``forge check``: import what a config names and hold its arguments against the real signatures.

The imports happen in a process of their own, so that the one who asks stays light and survives whatever they do.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError, ToolError
from forge.base.origin import Origin
from forge.build.locate import locate
from forge.build.user_policy import policy_of
from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.graph.call_check import Finding
from forge.graph.check import finding_of
from forge.graph.lower import lower
from forge.graph.node import Call
from forge.graph.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.compose.project import Project
    from forge.graph.policy import Policy

__all__ = ["imported_findings"]

_SECONDS: Final = 600


def imported_findings(folder: str, name: str, overrides: Sequence[str | tuple[str, str]] = ()) -> list[Finding]:
    """What importing the targets of a config shows, asked in a new process."""
    with tempfile.TemporaryDirectory(prefix="forge-") as place:
        answer = os.path.join(place, "findings.json")
        request = json.dumps({"folder": folder, "name": name, "overrides": list(overrides), "answer": answer})
        try:
            done = subprocess.run(  # noqa: S603 - this very program
                [sys.executable, "-m", __name__],
                input=request,
                capture_output=True,  # what libraries print while they are imported is nobody's result
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"importing what {name} names took more than {_SECONDS} seconds") from None
        if done.returncode or not os.path.exists(answer):
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ToolError(f"importing what {name} names failed with exit code {done.returncode}: {reason}")
        with open(answer, encoding="utf-8") as file:
            rows = json.load(file)
    return [Finding(Origin(*row[0]) if row[0] else None, *row[1:]) for row in rows]


def _main() -> None:
    """The other process: read the request, import, write the answer."""
    request = json.load(sys.stdin)
    project = find_project(request["folder"])
    overrides = [one if isinstance(one, str) else (one[0], one[1]) for one in request["overrides"]]
    found = list(_findings(project, request["name"], overrides))
    with open(request["answer"], "w", encoding="utf-8") as file:
        json.dump(found, file)


def _findings(project: Project, name: str, overrides: Sequence[str | tuple[str, str]]) -> Iterator[Finding]:
    problems: list[ForgeError] = []
    graph = lower(compose(project, name, overrides, problems=problems), problems=problems)
    folders = [folder for folder in project.source_folders if os.path.isdir(folder)]
    policy = policy_of(project)
    for node in walk(graph.root):
        if isinstance(node, Call):
            yield from _call_findings(node, policy, folders)


def _call_findings(call: Call, policy: Policy, folders: Sequence[str]) -> Iterator[Finding]:
    origin = call.target_origin or call.origin
    try:
        target = locate(call.target, policy, folders, origin=origin, key=call.name)
    except ForgeError as error:
        found = finding_of(error, code="import")
        yield found._replace(origin=found.origin or origin, key=found.key or call.name)
        return
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is imported
        reason = (str(error).splitlines() or [""])[0]
        yield Finding(
            origin, call.name, f"importing {call.target} raises {type(error).__name__}: {reason}", code="import"
        )
        return
    message = _signature_problem(call, target) if call.mode != "symbol" else None
    if message:
        yield Finding(origin, call.name, message, code="signature")


def _signature_problem(call: Call, target: Any) -> str | None:
    """What Python itself says when the arguments do not fit; None when they do, or when there is no signature."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    bind = signature.bind_partial if call.mode == "partial" else signature.bind
    try:
        bind(*[edge.node for edge in call.args], **{str(edge.key): edge.node for edge in call.kwargs})
    except TypeError as error:
        return f"{call.target.rpartition('.')[2]}: {error}"
    return None


if __name__ == "__main__":
    _main()

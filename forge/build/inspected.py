"""Depth 2 of a check: import the targets in a process of their own, and hold every call against its real signature.

The asking process imports no target. The policy is asked by `locate` before each import, and a project's own source is
imported only when its user trusts it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError, ToolError
from forge.build.locate import locate
from forge.graph.call_check import call_findings, target_findings
from forge.graph.check import Finding, in_order
from forge.graph.node import Call
from forge.graph.policy import Policy, Rule
from forge.graph.static.signature import Lookup, Parameter, ParameterKind, Signature
from forge.graph.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.graph.node import Graph

__all__ = ["check_imported", "real_signature", "serve"]

_MOST_SECONDS: Final = 600
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_KINDS: Final[dict[Any, ParameterKind]] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional_only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional_or_keyword",
    inspect.Parameter.KEYWORD_ONLY: "keyword_only",
}
_LONGEST_TEXT: Final = 200


def check_imported(graph: Graph, policy: Policy, source_folders: Sequence[str] = ()) -> list[Finding]:
    """What is wrong with the calls of a graph once their targets are imported, in the order of files and lines."""
    calls = [node for node in walk(graph.root) if isinstance(node, Call)]
    targets = sorted({call.target for call in calls})
    answers = dict(zip(targets, _ask(targets, policy, source_folders), strict=True)) if targets else {}
    found: list[Finding] = []
    for call in calls:
        answer = answers[call.target]
        if "error" in answer:
            place = call.target_origin or call.origin
            found.append(Finding(place, call.name, answer["error"], answer["hint"], "error", answer["code"]))
            continue
        signature = _from_json(answer["signature"])
        found += target_findings(call, Lookup("found", signature))
        if call.mode != "symbol" and signature is not None:
            found += call_findings(call, signature)
    return in_order(found)


def real_signature(obj: object, target: str) -> Signature | None:
    """The signature of an imported object; None when it has none that can be read.

    What a wrapper or compiled code says of itself may be more, or other, than it takes; such a signature accepts
    anything and requires nothing.
    """
    if not callable(obj):
        return None
    try:
        shown, taken = inspect.signature(obj), inspect.signature(obj, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    loose = shown != taken or not _is_written_in_python(obj)
    kinds = {parameter.kind for parameter in shown.parameters.values()}
    return Signature(
        target=target,
        parameters=tuple(
            _parameter(one, loose=loose) for one in shown.parameters.values() if one.kind not in _VARIABLE
        ),
        var_positional=loose or inspect.Parameter.VAR_POSITIONAL in kinds,
        var_keyword=loose or inspect.Parameter.VAR_KEYWORD in kinds,
        doc=(inspect.getdoc(obj) or "").partition("\n")[0],
        file="",
        line=0,
        is_class=inspect.isclass(obj),
    )


def serve() -> None:
    """Answer one request from standard input on standard output; what imports print goes to standard error."""
    request = json.load(sys.stdin)
    policy = Policy(tuple(Rule(*rule) for rule in request["rules"]))
    with contextlib.redirect_stdout(sys.stderr):
        answers = [_answer(target, policy, request["source_folders"]) for target in request["targets"]]
    json.dump(answers, sys.stdout)


def _ask(targets: list[str], policy: Policy, source_folders: Sequence[str]) -> list[dict[str, Any]]:
    request = {"targets": targets, "rules": policy.rules, "source_folders": list(source_folders)}
    # The same search path as here, set before anything is imported: `-m` would put the current folder first.
    program = f"import sys; sys.path[:] = {sys.path!r}; from forge.build.inspected import serve; serve()"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, and no shell
            [sys.executable, "-c", program],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"importing the targets took more than {_MOST_SECONDS} seconds") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise ToolError(
            f"the process that imports the targets failed: {last}", hint="run 'forge check' without --import"
        )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _answer(target: str, policy: Policy, source_folders: Sequence[str]) -> dict[str, Any]:
    try:
        obj = locate(target, policy, source_folders)
    except ForgeError as error:
        return {"error": error.what, "hint": error.hint or "", "code": type(error).__name__}
    except Exception as error:  # noqa: BLE001 - importing a module runs any code, which may raise anything
        what = f"importing {target} fails: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return {"error": what, "hint": "", "code": "import-fails"}
    return {"signature": real_signature(obj, target)}


def _from_json(written: list[Any] | None) -> Signature | None:
    if written is None:
        return None
    target, parameters, *rest = written
    return Signature(target, tuple(Parameter(*one) for one in parameters), *rest)


def _is_written_in_python(obj: object) -> bool:
    if isinstance(obj, type):
        makers = (inspect.getattr_static(obj, name, None) for name in ("__init__", "__new__"))
        return any(isinstance(maker, (FunctionType, staticmethod)) for maker in makers)
    return isinstance(inspect.unwrap(obj), FunctionType) or inspect.ismethod(obj) if callable(obj) else False


def _parameter(parameter: inspect.Parameter, *, loose: bool) -> Parameter:
    empty = inspect.Parameter.empty
    annotation, default = parameter.annotation, parameter.default
    return Parameter(
        name=parameter.name,
        kind=_KINDS[parameter.kind],
        required=default is empty and not loose,
        annotation="" if annotation is empty else _text(annotation),
        default=None if default is empty else repr(default)[:_LONGEST_TEXT],
    )


def _text(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)

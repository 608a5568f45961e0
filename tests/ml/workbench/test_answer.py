from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import DataError, ToolError
from forge.ml.workbench import answer
from forge.ml.workbench.answer import Outcome, answer_to

if TYPE_CHECKING:
    from collections.abc import Callable


def noted(error: Exception) -> Exception:
    error.__notes__ = ["while building model from a.yaml:1"]
    return error


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Outcome]:
    """Asks for an action that returns, or raises, this."""
    monkeypatch.chdir(tmp_path)

    def start(result: Any, *, debug: bool = False, **arguments: Any) -> Outcome:
        def action(progress: Callable[[str], None], *, key: str = "") -> Any:
            progress(key)
            if isinstance(result, Exception):
                raise result
            return result

        module = ModuleType("action")
        module.action = action  # type: ignore[attr-defined]
        monkeypatch.setattr(answer, "import_module", lambda _: module)
        monkeypatch.setattr(answer, "_ACTIONS", {"do": ("action", "action")})
        request = {"action": "do", "folder": str(tmp_path), "arguments": arguments, "debug": debug}
        return answer_to(request, told.append)

    told: list[str] = []
    start.told = told  # type: ignore[attr-defined]
    return start


def test_an_action_gets_its_arguments_and_tells_how_far_it_is(ask: Any) -> None:
    assert ask(Outcome("well"), key="x") == Outcome("well")
    assert ask.told == ["x"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("no rows", hint="add some"), 2, "no rows\n  add some"),
        (ToolError("no git"), 1, "no git"),
        (noted(ValueError("wrong")), 2, "wrong\n  while building model from a.yaml:1"),
        (noted(KeyError("k")), 2, "KeyError: 'k'\n  while building model from a.yaml:1"),
        (MemoryError(), 1, "there is too little memory: MemoryError\n  try a smaller"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nMore"), 1, "too little memory: CUDA out"),
        (ModuleNotFoundError("No module named 'torch'"), 1, "No module named 'torch'\n  pip install"),
    ],
)
def test_what_a_user_can_mend_is_a_message(
    ask: Any, capsys: pytest.CaptureFixture[str], error: Exception, code: int, says: str
) -> None:
    outcome = ask(error)
    assert (outcome.code, outcome.text) == (code, "")
    assert says in outcome.error
    assert capsys.readouterr().err == ""
    ask(error, debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_what_nobody_expected_is_shown_with_its_traceback(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(ZeroDivisionError("by nothing")) == Outcome(code=1, error="ZeroDivisionError: by nothing")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("request_", [{}, {"action": "fly"}, {"action": "build", "folder": "/"}])
def test_a_request_that_makes_no_sense_is_an_answer_too(
    request_: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer_to(request_, print).code == 1
    assert "Traceback" in capsys.readouterr().err

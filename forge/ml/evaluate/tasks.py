"""The tasks of lm-eval, asked of a model in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.base.errors import ToolError, UsageError
from forge.base.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run_tasks"]


def run_tasks(
    model: Any,
    tokenizer: Any,
    names: Sequence[str],
    *,
    batch_size: int,
    folder: str | None = None,
    limit: int | None = None,
    chat: bool = False,
) -> dict[str, dict[str, float]]:
    """The figures of each task, by its name.

    `folder` holds tasks of one's own, as lm-eval's YAML files. `limit` asks that many questions of each task. `chat` puts them into
    the tokenizer's chat template.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ToolError(
            f"tasks are asked by lm-eval, which cannot be imported: {error}", hint="pip install 'forge[eval]'"
        ) from error
    manager = TaskManager(include_path=folder)
    for name in names:
        if name not in manager.all_tasks:
            hint = did_you_mean(name, manager.all_tasks) or "`lm-eval ls tasks` lists those there are"
            raise UsageError(f"lm-eval has no task {name!r}", hint=hint)
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
        tasks=list(names),
        task_manager=manager,
        limit=limit,
        apply_chat_template=chat,
        log_samples=False,
        bootstrap_iters=0,
    )
    return {name: _figures(result) for name, result in found["results"].items()}


def _figures(result: dict[str, Any]) -> dict[str, float]:
    """``acc,none`` is what lm-eval calls a figure that no filter was applied to; what has no comma is no figure."""
    return {
        key.removesuffix(",none"): float(value)
        for key, value in result.items()
        if "," in key and "_stderr" not in key and isinstance(value, (int, float))
    }

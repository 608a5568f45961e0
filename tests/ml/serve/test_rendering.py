from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ModelError
from forge.ml.serve.engine import RequestRefused
from forge.ml.serve.rendering import Rendering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from forge.ml.serve.model_folder import ServedModel

HI = [{"role": "user", "content": "hi"}]
BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 3000000000 }}",
    "{{ (messages[0].role * 100000000)|list|length }}",
    "{% set ns = namespace(x='a') %}{% for i in range(90000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{{ '%3000000000d' % 1 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


def _with(model: ServedModel, template: str | None, work: Callable[[Rendering], Awaitable[None]]) -> None:
    async def run() -> None:
        rendering = Rendering(dataclasses.replace(model, template=template))
        try:
            await rendering.start()
            await work(rendering)
        finally:
            await rendering.close()

    asyncio.run(run())


def test_chats_are_written_by_another_process(served_model: ServedModel) -> None:
    async def work(rendering: Rendering) -> None:
        found = await asyncio.gather(*(rendering.tokens([{"role": "user", "content": f"{n}"}]) for n in range(20)))
        assert [list(tokens) for tokens in found] == [served_model.tokens(f"{n}") for n in range(20)]

    _with(served_model, "{{ messages[0].content }}", work)


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_template_that_is_a_bomb_is_contained(served_model: ServedModel, bomb: str) -> None:
    template = "{% if messages[0].content == 'go' %}" + bomb + "{% endif %}ok"

    async def work(rendering: Rendering) -> None:
        began = time.process_time()
        with pytest.raises(RequestRefused, match=r"template"):
            await rendering.tokens([{"role": "user", "content": "go"}])
        assert time.process_time() - began < 1
        assert list(await rendering.tokens(HI)) == served_model.tokens("ok")

    _with(served_model, template, work)


def test_a_process_that_died_is_started_again(served_model: ServedModel) -> None:
    async def work(rendering: Rendering) -> None:
        assert rendering._process is not None
        rendering._process.kill()
        await rendering._process.wait()
        with pytest.raises(RequestRefused, match="too much time or memory"):
            await rendering.tokens(HI)
        assert list(await rendering.tokens(HI)) == served_model.tokens("hi")

    _with(served_model, "{{ messages[0].content }}", work)


def test_a_model_without_a_template_refuses_chats(served_model: ServedModel) -> None:
    async def work(rendering: Rendering) -> None:
        with pytest.raises(RequestRefused, match="no chat template"):
            await rendering.tokens(HI)

    _with(served_model, None, work)


def test_a_template_that_cannot_be_used_is_told_at_the_start(served_model: ServedModel) -> None:
    async def work(_rendering: Rendering) -> None:
        raise AssertionError

    with pytest.raises(ModelError, match="does not parse"):
        _with(served_model, "{% if %}", work)

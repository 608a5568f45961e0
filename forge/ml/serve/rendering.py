"""The server's side of the process that turns chats into tokens: it starts it, asks it, and ends one that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ModelError
from forge.ml.serve.engine import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.ml.serve.model_folder import ServedModel

__all__ = ["Rendering"]

_LINE: Final = 64 << 20
_BEGIN_SECONDS: Final = 60.0  # of a busy machine; the limits of a template count its own processor time
_SECONDS: Final = 10.0


class Rendering:
    """Chats to tokens by the template of a model."""

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the process, if this model has a template; ModelError when the template cannot be used."""
        if self._model.template is None:
            return
        async with self._turn:
            await self._begin()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def tokens(
        self, messages: Sequence[Any], tools: Sequence[Any] | None = None, variables: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """The tokens of a chat; RequestRefused when there is no template, or it refuses the chat."""
        if self._model.template is None:
            raise RequestRefused(
                "this model has no chat template: start the server with --chat-template, or ask for completions",
                "messages",
            )
        asked = {"messages": messages, "tools": tools, "variables": variables}
        async with self._turn:
            if self._process is None:
                await self._begin()
            answer = await self._ask(asked, _SECONDS)
        if "tokens" not in answer:
            raise RequestRefused(str(answer.get("error")), "messages")
        return tuple(answer["tokens"])

    async def _begin(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "forge.ml.serve.renderer",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            start_new_session=True,  # Ctrl-C is for the server
            limit=_LINE,
        )
        begun = {
            "tokenizer": self._model.texts,
            "template": self._model.template,
            "special_tokens": dict(self._model.special_tokens),
        }
        answer = await self._ask(begun, _BEGIN_SECONDS)
        if "ready" not in answer:
            await self.close()
            raise ModelError(str(answer.get("error")))

    async def _ask(self, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
        """One line out and one in; a process that does not answer, or whose answer nobody waits for, is ended."""
        try:
            return await asyncio.wait_for(self._exchange(asked), seconds)
        except asyncio.TimeoutError:
            await self.close()
            return {"error": "the chat template runs too long"}
        except (ValueError, OSError):
            await self.close()
            return {"error": "the chat template needs too much time or memory"}
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _exchange(self, asked: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise OSError("no process")
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        await process.stdin.drain()
        found = json.loads(await process.stdout.readline())  # nothing at all, from a process that ended, is no JSON
        return dict(found)

"""Samples of what the model writes, while it learns."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import RunError
from forge.ml.train.callback import Callback
from forge.ml.train.metrics import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.ml.train.run import Run

__all__ = ["SAMPLES", "TextSamples"]

SAMPLES: Final = "samples.jsonl"
_NAME: Final = "samples"
_LONGEST: Final = 400
_RENDERING: Final = 5.0  # seconds; a template takes milliseconds


class TextSamples(Callback):
    """Lets the model go on from each of the `prompts`, every so many steps and at the end of the run.

    A prompt is a text, or the messages of a conversation that the model answers by the tokenizer's chat template. A
    `temperature` of 0 takes the likeliest token each time. The samples are shown, given to the loggers, and added to
    ``samples.jsonl`` in the run's folder. The run itself takes no notice: its random numbers stay as they are.
    """

    def __init__(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, Any]]],
        every_steps: int | None = None,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 42,
        *,
        at_end: bool = True,
    ) -> None:
        if not prompts or isinstance(prompts, str):
            raise ValueError("prompts is a list with at least one text or one list of messages")
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"every_steps is at least 1, or null for the end of the run alone, not {every_steps}")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is at least 1, not {max_new_tokens}")
        if temperature < 0:
            raise ValueError(f"temperature is at least 0, not {temperature}")
        self.prompts = [prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt] for prompt in prompts]
        self.every_steps, self.at_end = every_steps, at_end
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self._ids: list[list[int]] = []
        self._last = -1

    def begin(self, run: Run) -> None:
        """Turn the prompts into tokens, so that a wrong one shows before the first step."""
        if not hasattr(run.model, "generate"):
            raise RunError(
                f"samples need a model that can generate, and {type(run.model).__name__} cannot",
                hint="leave samples out of callback",
            )
        known = getattr(run.model.config, "max_position_embeddings", None)
        self._ids = [_prompt_tokens(prompt, run.tokenizer) for prompt in self.prompts]
        for prompt, ids in zip(self.prompts, self._ids, strict=True):
            if known is not None and len(ids) >= known:
                raise RunError(
                    f"the prompt {_shown(prompt)[:40]!r} has {len(ids)} tokens, and the model knows {known} positions",
                    hint="shorten it",
                )
        self._last = run.step

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - a callback is given both
        """Take samples when it is time."""
        if self.every_steps is not None and run.step % self.every_steps == 0:
            self._take(run)

    def end(self, run: Run) -> None:
        """Take the last samples of a run that has reached its end."""
        if self.at_end and run.finished and self._last != run.step:
            self._take(run)

    def _take(self, run: Run) -> None:
        self._last = run.step
        lines = Lines(os.path.join(run.folder, SAMPLES))
        shown = []
        try:
            with _undisturbed(run, self.seed):
                for prompt, ids in zip(self.prompts, self._ids, strict=True):
                    new = self._generate(run, ids)
                    text = run.tokenizer.decode(new, skip_special_tokens=True)
                    if run.world.first:
                        lines.write({"step": run.step, "prompt": prompt, "text": text, "tokens": len(new)})
                    shown.append(f"{_shown(prompt)}>>>{text}")
        except Exception as error:  # noqa: BLE001 - a sample is not worth a run
            self.every_steps, self.at_end = None, False
            run.progress.say(f"no more samples: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            return
        finally:
            lines.close()
        for text in shown:
            run.progress.say(f"sample at step {run.step}: {_in_a_line(text)}")
        run.metrics.text(_NAME, "\n\n".join(shown), run.step)

    def _generate(self, run: Run, ids: list[int]) -> list[int]:
        import torch
        from transformers import GenerationConfig

        known = getattr(run.model.config, "max_position_embeddings", None)
        drawn = {"do_sample": False}
        if self.temperature > 0:  # no other setting of the model's folder shall bend what it has learned
            drawn = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        ends = _ends(run)
        if run.world.layout.pp > 1 or run.world.layout.cp > 1 or run.world.layout.sequence_parallel:
            return self._grown(run, ids, ends)
        settings = GenerationConfig(
            max_new_tokens=self.max_new_tokens if known is None else min(self.max_new_tokens, known - len(ids)),
            num_beams=1,
            use_cache=True,
            eos_token_id=ends or None,
            pad_token_id=next((token for token in (run.tokenizer.pad_token_id, *ends) if token is not None), 0),
            **drawn,
        )
        given = torch.tensor([ids], device=run.device)
        with run.precision.autocast():
            found = run.model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), generation_config=settings
            )
        return [int(token) for token in found[0, len(ids) :]]

    def _grown(self, run: Run, ids: list[int], ends: Sequence[int]) -> list[int]:
        """The same without a cache: a process has some of the layers, or a piece of each row, and a row of one token has none."""
        import torch

        from forge.ml.models.attention import attending_alone

        known = getattr(run.model.config, "max_position_embeddings", None)
        most = self.max_new_tokens if known is None else min(self.max_new_tokens, known - len(ids))
        found, unit = list(ids), run.world.layout.tp
        with attending_alone(), run.precision.autocast():
            while len(found) < len(ids) + most and (len(found) == len(ids) or found[-1] not in ends):
                # What is behind a token has no part in it.
                row = torch.tensor([found + [0] * (-len(found) % unit)], device=run.device)
                if run.world.layout.pp > 1:
                    found.append(run.loss.next_token(row, len(found) - 1, self._choose))
                else:
                    logits = run.model(input_ids=row, use_cache=False).logits[0, len(found) - 1].float()
                    found.append(int(self._choose(logits)))
        return found[len(ids) :]

    def _choose(self, logits: Any) -> Any:
        return logits.argmax() if not self.temperature else _drawn(logits / self.temperature)


def _drawn(logits: Any) -> Any:
    return logits.softmax(-1).multinomial(1)


@contextlib.contextmanager
def _undisturbed(run: Run, seed: int) -> Iterator[None]:
    """Leave random numbers, the mode of every module and compiled code as they are."""
    import torch

    from forge.ml.evaluate.mode import evaluation_mode

    devices = [run.device] if run.device.type == "cuda" else []
    # What is compiled is made for batches, not for texts that grow by a token.
    with evaluation_mode(run.model), torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(seed)
        yield


def _prompt_tokens(prompt: str | list[dict[str, Any]], tokenizer: Any) -> list[int]:
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"]
        if ids and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids = ids[:-1]  # a tokenizer that ends every text: here it goes on
    else:
        ids = tokenizer(_rendered(prompt, tokenizer), add_special_tokens=False)["input_ids"]
    if not ids:
        raise RunError(f"the prompt {prompt!r} has no tokens", hint="give it some text, or leave it out of prompts")
    return list(ids)


def _rendered(messages: list[dict[str, Any]], tokenizer: Any) -> str:
    from forge.ml.chat.conversation import Conversation, RowError
    from forge.ml.chat.limits import Limits, limited
    from forge.ml.chat.template import Template

    if not isinstance(tokenizer.chat_template, str):
        raise RunError(
            "a prompt is a conversation, and the tokenizer has no chat template",
            hint="choose one with tokenizer.chat_template, or write the prompt as a text",
        )
    try:
        special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        with limited(Limits(seconds=_RENDERING)):
            template = Template(tokenizer.chat_template, special_tokens=special)
            return template.render(Conversation(messages), add_generation_prompt=True).text
    except (RowError, ValueError) as error:
        raise RunError(f"the chat template cannot render the prompt {messages!r}: {error}") from error


def _ends(run: Run) -> list[int]:
    """The tokens that end a text: the tokenizer's, and those that the model's folder names."""
    named = getattr(getattr(run.model, "generation_config", None), "eos_token_id", None)
    found = [run.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return list(dict.fromkeys(token for token in found if token is not None))


def _in_a_line(text: str) -> str:
    text = text.replace("\n", "\\n")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _shown(prompt: str | list[dict[str, Any]]) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))

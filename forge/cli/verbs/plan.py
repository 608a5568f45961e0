"""``forge plan``: what a run needs before it begins, and the layouts that fit the machines there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forge.base.errors import ForgeError, UsageError
from forge.cli.options import EDIT, JSON, OUTPUT, Option
from forge.cli.registry import Verb
from forge.cli.session import write_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.cli.session import Context
    from forge.plan.layout import Layout
    from forge.plan.read import RunReading
    from forge.plan.report import RunPlan

__all__ = ["VERB"]

# Nobody has a device of less: whoever asks for it has left out the unit.
_LEAST = 1e6


def _run(context: Context) -> int:
    reading = _reading(context)
    if context.options.fit is not None:
        return _fit(context, reading)
    plan = _plan(context, reading, _layout(reading))
    if context.options.svg is not None:
        from forge.plan.picture import plan_svg  # only with --svg

        write_result(context.options.svg, plan_svg(plan, _per_node(context, reading)))
    if context.options.json:
        from forge.plan.report import plan_data  # as all of forge.plan: `forge --help` plans nothing

        context.emit_json(plan_data(plan), context.config.name)
    else:
        from forge.plan.report import plan_text

        context.emit(plan_text(plan), context.config.name, ".txt")
    return 2 if plan.refused else 0


def _reading(context: Context) -> RunReading:
    from forge.graph.check import broken_rules
    from forge.plan.read import read_run

    for name in ("gpus", "per_node", "seq"):
        value = getattr(context.options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is at least 1, not {value}")
    config = context.config
    for finding in broken_rules(config.graph, config.arguments):
        raise ForgeError(finding.message, origin=finding.origin, key=finding.key, hint=finding.hint)
    reading = read_run(config.graph.root, config.main)
    if reading is None:
        hint = "a run needs a trainer: add '- /trainer: default' to the config's defaults"
        raise UsageError(f"{config.name} describes no run", hint=hint)
    if reading.shape is None:
        raise UsageError(f"{config.name} cannot be planned: {reading.problem}")
    return reading


def _layout(reading: RunReading) -> Layout:
    if reading.layout is None:
        from forge.plan.read import origin_of

        raise ForgeError(
            reading.refused or "the layout of the config is none that forge knows",
            origin=origin_of(reading.parallel, ""),
            key=reading.prefix,
            hint=reading.ways or "`forge plan --fit 24GB --gpus N` lists layouts that are possible",
        )
    return reading.layout


def _plan(context: Context, reading: RunReading, layout: Layout) -> RunPlan:
    from forge.plan.amounts import parse_amount
    from forge.plan.make import make_plan

    options = context.options
    ranks = options.gpus or reading.ranks
    try:
        return make_plan(
            context.config.name,
            reading,
            layout=layout,
            ranks=ranks,
            device=options.device,
            per_node=options.per_node,
            data_tokens=None if options.tokens is None else _read(parse_amount, "--tokens", options.tokens),
            sequence_length=options.seq,
        )
    except ValueError as error:
        raise UsageError(
            f"{context.config.name} cannot be planned: {error}", hint=_nearest(reading, layout, ranks)
        ) from error


def _nearest(reading: RunReading, layout: Layout, ranks: int) -> str | None:
    """What to write instead of a layout that does not fit the processes."""
    found = reading.refusals(layout=layout, ranks=ranks)
    return found[0].ways or None if found else None


def _per_node(context: Context, reading: RunReading) -> int:
    return context.options.per_node or reading.per_node


def _fit(context: Context, reading: RunReading) -> int:
    from forge.base.sizes import shown_size
    from forge.plan.amounts import parse_size
    from forge.plan.fit import fitting_layouts
    from forge.plan.layout import Layout
    from forge.plan.read import setup_of
    from forge.plan.report import fit_text, fitting_data
    from forge.plan.speed import Hardware

    options = context.options
    room = _read(parse_size, "--fit", options.fit)
    if room < _LEAST:
        raise UsageError(f"--fit: {options.fit} is {shown_size(room)}: write {options.fit.strip()}GB")
    ranks = options.gpus or reading.ranks
    hardware = Hardware(per_node=_per_node(context, reading))
    if options.link is not None:
        hardware = replace(hardware, inside=_read(parse_size, "--link", options.link))
    try:
        setup = setup_of(reading, layout=Layout(), ranks=1, device=options.device, sequence_length=options.seq)
    except ValueError as error:
        raise UsageError(f"{context.config.name} cannot be planned: {error}") from error
    before = reading.layout or Layout()
    found = fitting_layouts(setup, before, room=room, ranks=ranks, hardware=hardware, prefix=reading.prefix)
    if options.json:
        context.emit_json(fitting_data(found), context.config.name)
    else:
        context.emit(fit_text(found, room, ranks), context.config.name, ".txt")
    return 0 if found else 1


def _read(parse: Callable[[str], Any], flag: str, text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


VERB = Verb(
    name="plan",
    summary="what a run needs before it begins: memory, traffic, steps, and which layouts fit",
    help="""\
Count what a run of the config would need, without torch and without a GPU: the memory of each process by its parts, what
processes send each other in a step, how long a pipeline waits, how many tokens a step has. A layout that the model does not
allow is refused with the reason and the nearest ones that it does.

--fit lists the layouts that fit so much memory on so many GPUs, the quickest first, each as a line of overrides. --svg draws
the mesh, the memory and the schedule of the pipeline.

Exit code 0: possible. 1: nothing fits. 2: the layout is refused.

  forge -t chat/lora plan
  forge -t chat/full plan model=llama3_8b parallel=fsdp --gpus 8
  forge -t chat/full plan model=llama3_8b --fit 24GB --gpus 4
  forge -t chat/full plan model=llama3_8b parallel=pp_1f1b parallel.microbatches=4 --svg plan.svg
  forge -t chat/full plan -M MODEL_FOLDER --tokens 300M --json
""",
    run=_run,
    options=(
        Option(("--fit",), "list the layouts that fit so much memory, such as 24GB", "SIZE"),
        Option(("--gpus",), "on so many processes; else as many as the config launches", "N", type=int),
        Option(("--device",), "what the processes compute on", "KIND", choices=("cuda", "cpu"), default="cuda"),
        Option(
            ("--per-node",), "so many of them sit in one node; else as the config launches them, or 8", "N", type=int
        ),
        Option(("--link",), "with --fit: bytes a second between GPUs of a node; else 200GB", "SIZE"),
        Option(("--seq",), "so many tokens in a row; else the config's longest", "N", type=int),
        Option(("--tokens",), "so many tokens are in the data, such as 300M: for the steps of an epoch", "N"),
        Option(("--svg",), "draw the mesh, the memory and the schedule into this file", "FILE", completes="file"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    takes_config=True,
)

"""What the stages of a pipeline have of a model and its optimizer, brought together as if it were of one process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from forge.ml.checkpoint.state import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.ml.parallel.world import World

__all__ = ["brought_together", "held_earlier", "leads_its_stage", "outlines", "united_optimizer", "united_weights"]


def leads_its_stage(world: World) -> bool:
    """Whether this process speaks for its place in the pipeline."""
    return all(world.place(name) == 0 for name in ("dp_replicate", "dp_shard", "cp", "tp"))


def brought_together(world: World, part: Any) -> list[Any] | None:
    """What the places of the pipeline have, in their order, in the first process; None in the others, all of which have to ask."""
    if world.first:
        step = world.size // world.layout.pp
        return [part, *(_received(world, place * step) for place in range(1, world.layout.pp))]
    if leads_its_stage(world):
        _send(world, part)
    return None


def outlines(world: World, part: Any) -> list[Any]:
    """What the places of the pipeline have, in their order: of the others, their tensors on the meta device; all have to ask."""
    tensors, tree = pack(part)
    told = world.exchange([_facts(tensors), tree] if leads_its_stage(world) else None)
    found = []
    for place, (facts, other) in enumerate(one for one in told if one is not None):
        empty = {name: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for name, shape, kind in facts}
        found.append(part if place == world.place("pp") else unpack(empty, other))
    return found


def held_earlier(world: World, names: Iterable[str]) -> set[str]:
    """The weights that an earlier place of the pipeline has too; all have to ask."""
    told = world.exchange(sorted(names) if leads_its_stage(world) else None)
    parts = [one for one in told if one is not None]
    return {name for part in parts[: world.place("pp")] for name in part}


def united_weights(
    parts: Sequence[Mapping[str, torch.Tensor]], order: Sequence[str], ties: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """One state dict of several, in the order of the whole model; what is tied is one tensor."""
    found = {name: tensor for part in reversed(parts) for name, tensor in part.items()}
    for name, origin in ties.items():
        if name in found and origin in found:
            found[name] = found[origin]
    known = {name: place for place, name in enumerate(order)}
    return {name: found[name] for name in sorted(found, key=lambda name: known.get(name, len(known)))}


def united_optimizer(parts: Sequence[dict[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """The state of one optimizer of those of several processes, by the names of parameters."""
    groups: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for part in parts:
        for group in part["param_groups"]:
            options = {key: value for key, value in group.items() if key not in ("params", "param_names")}
            home = next((members for known, members in groups if _plain(known) == _plain(options)), None)
            if home is None:
                home = {}
                groups.append((options, home))
            for number, name in zip(group["params"], group["param_names"], strict=True):
                home.setdefault(name, part["state"].get(number))
    return {**parts[0], **_numbered(groups, {name: place for place, name in enumerate(order)})}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options without the content of tensors, which other processes' have none of: a rate that is one is that of all groups."""
    return {key: type(value) if isinstance(value, torch.Tensor) else value for key, value in options.items()}


def _numbered(groups: list[tuple[dict[str, Any], dict[str, Any]]], places: dict[str, int]) -> dict[str, Any]:
    """Groups and states as an optimizer gives them."""
    state, described, number = {}, [], 0
    for options, members in groups:
        names = sorted(members, key=lambda name: places.get(name, len(places)))
        numbers = list(range(number, number + len(names)))
        number += len(names)
        state |= {at: members[name] for at, name in zip(numbers, names, strict=True) if members[name] is not None}
        described.append({**options, "params": numbers, "param_names": names})
    return {"state": state, "param_groups": described}


def _send(world: World, part: Any) -> None:
    tensors, tree = pack(part)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = torch.frombuffer(bytearray(json.dumps([_facts(held), tree]).encode()), dtype=torch.uint8)
    for content in (torch.tensor([len(text)]), text, *(_bytes(tensor) for tensor in held.values())):
        if content.numel():
            dist.send(content, 0, group=world.groups["all"])


def _facts(tensors: Mapping[str, torch.Tensor]) -> list[Any]:
    """Names, shapes and types, which is what tensors are without their numbers."""
    return [[name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in tensors.items()]


def _received(world: World, source: int) -> Any:
    def receive(content: torch.Tensor) -> torch.Tensor:
        if content.numel():
            dist.recv(content, source, group=world.groups["all"])
        return content

    (length,) = receive(torch.zeros(1, dtype=torch.int64)).tolist()
    facts, tree = json.loads(receive(torch.empty(length, dtype=torch.uint8)).numpy().tobytes())
    tensors = {}
    for name, shape, kind in facts:
        tensors[name] = torch.empty(shape, dtype=getattr(torch, kind))
        receive(_bytes(tensors[name]))
    return unpack(tensors, tree)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.uint8)

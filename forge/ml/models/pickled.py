"""What a pickled state dict says about its tensors, read without running anything it names.

The pickle is a list of instructions; these are gone through one by one, and only those that build plain values and describe tensors
are known. A name is looked up in a closed list and never imported. The pickle module itself is not used.
"""

from __future__ import annotations

import io
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MAX_PICKLE", "TensorRecord", "read_records"]

# A shard of the largest published models describes some thousand tensors in a few hundred kilobytes.
MAX_PICKLE: Final = 4 << 20
_MAX_INSTRUCTIONS: Final = 300_000
_MAX_DIMENSIONS: Final = 16
_LONGEST_NAME: Final = 200
_STORAGES: Final = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": "float64",
        "Float": "float32",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
    }.items()
}
_MARK: Final = object()


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor as a pickle describes it: a window on a storage, sizes counted in elements."""

    storage: str
    storage_length: int
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function that the pickle names; it stands for itself and is never looked up."""

    text: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    length: int


def read_records(data: bytes) -> dict[str, TensorRecord]:
    """The tensors of a pickled state dict by name; anything but a dict of tensors is refused with a `ModelError`."""
    if len(data) > MAX_PICKLE:
        raise ModelError(f"its description of the tensors is larger than {MAX_PICKLE:,} bytes")
    found = _Machine().run(data)
    if not isinstance(found, dict):
        raise ModelError("it holds no dict of tensors")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, TensorRecord):
            raise ModelError(f"{name!r:.100} is {_kind(value)}, not a tensor: only a plain dict of tensors is read")
    return dict(found)


class _Machine:
    """The stack machine of a pickle, with the instructions that a state dict needs."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        try:
            return self._run(data)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise ModelError(f"its description of the tensors is broken ({error!s:.100})") from error

    def _run(self, data: bytes) -> Any:
        stream = io.BytesIO(data)
        for _ in range(_MAX_INSTRUCTIONS):
            opcode = pickletools.code2op.get(stream.read(1).decode("latin-1"))
            name = "nothing" if opcode is None else opcode.name
            # Refused before its argument is read: some arguments are decoded in ways of their own.
            if opcode is None or (name not in _VALUES and name not in _STEPS and name != "STOP"):
                raise ModelError(f"it asks for the pickle instruction {name}, which no state dict needs")
            argument = _two_lines(stream) if name == "GLOBAL" else opcode.arg.reader(stream) if opcode.arg else None
            if name == "STOP":
                return self.pop()
            if name in _VALUES:
                self.stack.append(argument)
            else:
                _STEPS[name](self, argument)
        raise ModelError(f"its description of the tensors has more than {_MAX_INSTRUCTIONS:,} instructions")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value

    def pop_mark(self) -> list[Any]:
        """The values above the topmost mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise ValueError("no mark")

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"{_kind(self.stack[-1])} where a {kind.__name__} belongs")
        return self.stack[-1]


def _two_lines(stream: io.BytesIO) -> str:
    """Module and name, as they stand there: the library would also undo escapes in them."""
    return " ".join(stream.readline(_LONGEST_NAME).decode("ascii").removesuffix("\n") for _ in range(2))


def _put(machine: _Machine, place: int | None) -> None:
    machine.memo[len(machine.memo) if place is None else place] = machine.stack[-1]


def _tuple(length: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(length)]
        machine.stack.append(tuple(reversed(values)))

    return make


def _set_items(machine: _Machine, values: list[Any]) -> None:
    target = machine.top(dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
        # Only plain keys: to hash a tuple of tuples of tuples can take for ever.
        if type(key) not in {str, int}:
            raise TypeError(f"{_kind(key)} as a key")
        target[key] = value


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _append(machine: _Machine, _: Any) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _extend(machine: _Machine, _: Any) -> None:
    values = machine.pop_mark()
    machine.top(list).extend(values)


def _name(machine: _Machine, argument: str) -> None:
    machine.stack.append(_known(argument))


def _stacked_name(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise TypeError("a name that is no text")
    machine.stack.append(_known(f"{module} {name}"))


def _known(text: str) -> _Name:
    if text not in _STORAGES and text not in _CALLS:
        raise ModelError(f"it names {text.replace(' ', '.', 1):.100}, which no state dict needs; nothing of it was run")
    return _Name(text)


def _storage(machine: _Machine, _: Any) -> None:
    kind, name, key, _device, length = machine.pop()
    dtype = _STORAGES.get(name.text) if isinstance(name, _Name) else None
    if kind != "storage" or dtype is None or not isinstance(key, str) or not _counts(length):
        raise ValueError("an odd storage")
    machine.stack.append(_Storage(key, dtype, length))


def _call(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, _Name) or function.text not in _CALLS or not isinstance(arguments, tuple):
        raise TypeError(f"a call of {_kind(function)}")
    machine.stack.append(_CALLS[function.text](*arguments))


def _build(machine: _Machine, _: Any) -> None:
    """The attributes that torch hangs on a state dict (`_metadata`): nothing that its tensors need."""
    machine.pop()
    machine.top(OrderedDict)


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, _requires_grad: Any = None, _hooks: Any = None, *_: Any
) -> TensorRecord:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise TypeError("an odd tensor")
    if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS or not _counts(offset, *shape, *stride):
        raise ValueError("a tensor of an impossible shape")
    return TensorRecord(storage.key, storage.length, storage.dtype, offset, shape, stride)


def _rebuild_parameter(tensor: Any, _requires_grad: Any = None, _hooks: Any = None) -> TensorRecord:
    if not isinstance(tensor, TensorRecord):
        raise TypeError("a parameter without a tensor")
    return tensor


def _empty_dict() -> OrderedDict[Any, Any]:
    return OrderedDict()


def _size(numbers: Any) -> tuple[Any, ...]:
    return tuple(numbers) if isinstance(numbers, (tuple, list)) else ()


def _counts(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _kind(value: Any) -> str:
    """What a value is, in a few words; never its own text, which can be endless."""
    return value.text.replace(" ", ".", 1) if isinstance(value, _Name) else type(value).__name__.lstrip("_")


_CALLS: Final[Mapping[str, Callable[..., Any]]] = {
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    "torch Size": _size,
    "collections OrderedDict": _empty_dict,
}
_VALUES: Final = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"}
    | {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
)
_STEPS: Final[Mapping[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": lambda _machine, _: None,
    "FRAME": lambda _machine, _: None,
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": _append,
    "APPENDS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_mark()),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _put,
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "GLOBAL": _name,
    "STACK_GLOBAL": _stacked_name,
    "BINPERSID": _storage,
    "REDUCE": _call,
    "BUILD": _build,
}

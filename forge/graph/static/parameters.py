"""From the definition of a class or function to the parameters of a call of it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.graph.static.aliases import written_out
from forge.graph.static.bindings import Defined
from forge.graph.static.classes import Definition, is_named_tuple, last_name, lineage, metaclass_calls
from forge.graph.static.decorators import effect_of
from forge.graph.static.signature import Parameter, ParameterKind, Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.graph.static.disk import Module
    from forge.graph.static.source import SourceTree

__all__ = ["makes_object", "signature_from"]

_LONGEST_TEXT: Final = 200
_NOT_FUNCTIONS: Final = frozenset({"property", "cached_property", "classproperty"})


class _Parameters(NamedTuple):
    """The parameters of a call; ``loose`` when more may be accepted, and less required, than is shown."""

    named: tuple[Parameter, ...] = ()
    var_positional: bool = False
    var_keyword: bool = False
    loose: bool = False

    @property
    def takes_anything(self) -> bool:
        return self.var_positional and self.var_keyword and not self.named


def signature_from(source: SourceTree, found: Definition, target: str) -> Signature | None:
    """The signature of a class or function; None when it cannot be told."""
    is_class = isinstance(found.node, ast.ClassDef)
    parameters = _of_class(source, found) if is_class else _of_function(source, found)
    if parameters is None:
        return None
    doc = (ast.get_docstring(found.node) or "").strip().partition("\n")[0]
    return Signature(
        target=target,
        parameters=tuple(p._replace(required=False) for p in parameters.named)
        if parameters.loose
        else parameters.named,
        var_positional=parameters.var_positional or parameters.loose,
        var_keyword=parameters.var_keyword or parameters.loose,
        doc=doc,
        file=found.module.path,
        line=found.node.lineno,
        is_class=is_class,
    )


def makes_object(source: SourceTree, found: Definition) -> bool:
    """Whether a call of a class or function surely gives an object that is no text, number, list or dict."""
    node = found.node
    if isinstance(node, ast.ClassDef):
        return effect_of(source, found) is not None and _is_plain(source, found)
    if not isinstance(node, ast.FunctionDef) or node.returns is None or effect_of(source, found) is None:
        return False
    returned = _annotated(source, node.returns, found)
    # An abstract class may stand for anything that behaves like it, a list too.
    return returned is not None and _is_plain(source, returned) and not _is_abstract(returned)


def _of_function(source: SourceTree, found: Definition) -> _Parameters | None:
    node = found.node
    decorators = {last_name(decorator) for decorator in node.decorator_list}
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or decorators & _NOT_FUNCTIONS:
        return None
    if effect_of(source, found) is None:
        return None
    is_static = "staticmethod" in decorators and node.name != "__new__"
    is_bound = found.owner is not None and ("classmethod" in decorators or node.name in {"__new__", "__init__"})
    parameters = _written(source, node, found.module, drop_first=is_bound and not is_static)
    if found.owner is not None and node.name not in {"__new__", "__init__"}:
        effect = effect_of(source, found.owner)
        if effect is None or node.name in effect.replaces:
            return parameters._replace(loose=True)
    return parameters


def _written(
    source: SourceTree, node: ast.FunctionDef | ast.AsyncFunctionDef, module: Module, *, drop_first: bool
) -> _Parameters:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = []
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        kind: ParameterKind = "positional_only" if index < len(arguments.posonlyargs) else "positional_or_keyword"
        found.append(_parameter(argument.arg, kind, _text(source, argument.annotation, module), default))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(_parameter(argument.arg, "keyword_only", _text(source, argument.annotation, module), default))
    named = found[1:] if drop_first and positional else found
    return _Parameters(tuple(named), arguments.vararg is not None, arguments.kwarg is not None)


def _parameter(
    name: str,
    kind: ParameterKind,
    annotation: str,
    default: ast.expr | None,
    *,
    required: bool | None = None,
) -> Parameter:
    return Parameter(
        name=name,
        kind=kind,
        required=default is None if required is None else required,
        annotation=annotation,
        default=ast.unparse(default)[:_LONGEST_TEXT] if default is not None else None,
    )


def _text(source: SourceTree, annotation: ast.expr | None, module: Module) -> str:
    return "" if annotation is None else ast.unparse(written_out(source, annotation, module))


def _of_class(source: SourceTree, found: Definition) -> _Parameters | None:
    classes = lineage(source, found)
    if metaclass_calls(source, classes):
        return None
    try:
        init = _first(source, classes, _own_init)
    except _CannotTellError:
        return None
    try:
        new = _first(source, classes, _own_new)
    except _CannotTellError:
        new = None
        if init is None:
            return None
    return _chosen(init, new)


class _CannotTellError(Exception):
    """A class on the way to the constructor cannot be read, or something may have changed it."""


def _first(
    source: SourceTree,
    classes: list[Definition | None],
    own: Callable[[SourceTree, list[Definition | None]], _Parameters | None],
) -> _Parameters | None:
    """The first of some classes' own constructors, None when none of them has one."""
    loose = False
    for index, one in enumerate(classes):
        effect = effect_of(source, one) if one is not None else None
        if effect is None:
            raise _CannotTellError
        loose = loose or bool(effect.replaces & {"__init__", "__new__"})
        parameters = own(source, classes[index:])
        if parameters is not None:
            return parameters._replace(loose=parameters.loose or loose)
    return None


def _chosen(init: _Parameters | None, new: _Parameters | None) -> _Parameters | None:
    if init is None or new is None:
        return init or new or _Parameters()
    if new.takes_anything:
        return init
    return new if init.takes_anything else None


def _method(source: SourceTree, owner: Definition, name: str) -> _Parameters:
    bindings = source.body(owner).names[name]
    meaning = bindings[0].meaning
    if len(bindings) > 1 or not isinstance(meaning, Defined):
        raise _CannotTellError
    parameters = _of_function(source, Definition(meaning.node, owner.module, owner))
    if parameters is None:
        raise _CannotTellError
    return parameters


def _own_new(source: SourceTree, classes: list[Definition | None]) -> _Parameters | None:
    """The ``__new__`` that the first of some classes brings itself."""
    one = classes[0]
    if one is None or "__new__" not in source.body(one).names:
        return None
    return _method(source, one, "__new__")


def _own_init(source: SourceTree, classes: list[Definition | None]) -> _Parameters | None:
    """The ``__init__`` that the first of some classes brings itself, written or made from its fields."""
    one = classes[0]
    if one is None:
        return None
    if "__init__" in source.body(one).names:
        return _method(source, one, "__init__")
    if is_named_tuple(one):
        return _fields_of_tuple(source, one)
    options = _dataclass_options(one)
    if options is not None:
        return None if options.get("init") is False else _fields(source, classes)
    if _hook(source, classes[1:]) is not None:
        return _fields(source, classes)._replace(loose=True)
    return None


def _dataclass_options(definition: Definition) -> dict[str, object] | None:
    """The literal options of a ``@dataclass`` decorator; None when there is no such decorator."""
    for decorator in definition.node.decorator_list:
        if last_name(decorator) == "dataclass":
            return _options(decorator)
    return None


def _options(call: ast.expr) -> dict[str, object]:
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return {k.arg: k.value.value for k in keywords if k.arg is not None and isinstance(k.value, ast.Constant)}


def _hook(source: SourceTree, bases: list[Definition | None]) -> dict[str, object] | None:
    """The options with which a base class makes its subclasses dataclasses (``__init_subclass__``), if one does."""
    for base in bases:
        binding = source.body(base).names.get("__init_subclass__") if base is not None else None
        meaning = binding[0].meaning if binding else None
        if isinstance(meaning, Defined):
            for node in ast.walk(meaning.node):
                if isinstance(node, ast.Call) and last_name(node.func) == "dataclass":
                    return _options(node)
    return None


def _fields(source: SourceTree, classes: list[Definition | None]) -> _Parameters:
    """The parameters of a dataclass: the fields of its bases first, keyword-only ones last."""
    fields: dict[str, Parameter] = {}
    for index in range(len(classes) - 1, -1, -1):
        one = classes[index]
        if one is None:
            raise _CannotTellError
        options = _dataclass_options(one)
        if options is None:
            options = _hook(source, classes[index + 1 :])
        if options is None:
            continue
        for parameter, wanted in _own_fields(source, one, options, fields):
            if wanted:
                fields[parameter.name] = parameter
            else:
                fields.pop(parameter.name, None)
    ordered = sorted(fields.values(), key=lambda parameter: parameter.kind == "keyword_only")
    return _Parameters(tuple(ordered))


def _own_fields(
    source: SourceTree, definition: Definition, options: dict[str, object], inherited: dict[str, Parameter]
) -> Iterator[tuple[Parameter, bool]]:
    keyword_only = options.get("kw_only") is True
    for statement in definition.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation = ast.unparse(statement.annotation).strip("'\"")
        if annotation.rpartition(".")[2] == "KW_ONLY":
            keyword_only = True
        elif not annotation.partition("[")[0].endswith("ClassVar"):
            written = _text(source, statement.annotation, definition.module)
            yield _field(statement, statement.target.id, written, keyword_only=keyword_only, inherited=inherited)


def _field(
    statement: ast.AnnAssign, name: str, annotation: str, *, keyword_only: bool, inherited: dict[str, Parameter]
) -> tuple[Parameter, bool]:
    value = statement.value
    options: dict[str, ast.expr] = {}
    if isinstance(value, ast.Call) and last_name(value.func) == "field":
        options = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg is not None}
        value = options.get("default") or options.get("default_factory")
    for_init = options.get("init")
    for_keyword = options.get("kw_only")
    if isinstance(for_keyword, ast.Constant):
        keyword_only = bool(for_keyword.value)
    above = inherited.get(name)
    # A field written again without a value keeps the class attribute it inherits as its default.
    required = value is None and not (statement.value is None and above is not None and not above.required)
    kind: ParameterKind = "keyword_only" if keyword_only else "positional_or_keyword"
    parameter = _parameter(name, kind, annotation, value, required=required)
    return parameter, not (isinstance(for_init, ast.Constant) and for_init.value is False)


def _fields_of_tuple(source: SourceTree, definition: Definition) -> _Parameters:
    declared = [
        (statement.target.id, statement)
        for statement in definition.node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    ]
    return _Parameters(
        tuple(
            _parameter(name, "positional_or_keyword", _text(source, line.annotation, definition.module), line.value)
            for name, line in declared
        )
    )


def _annotated(source: SourceTree, annotation: ast.expr, found: Definition) -> Definition | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str) and annotation.value.isidentifier():
        annotation = ast.Name(annotation.value, ast.Load())
    meaning = source.meaning(annotation, found.module)
    return meaning if isinstance(meaning, Definition) and isinstance(meaning.node, ast.ClassDef) else None


def _is_abstract(definition: Definition) -> bool:
    node = definition.node
    bases = [*node.bases, *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.ClassDef) else []
    return any(last_name(base) in {"ABC", "ABCMeta", "Protocol"} for base in bases)


def _is_plain(source: SourceTree, found: Definition) -> bool:
    """Whether an instance is surely no str, number, list or dict: every base is readable and none makes its own."""
    classes = lineage(source, found)
    return not metaclass_calls(source, classes) and all(
        one is not None and not is_named_tuple(one) and "__new__" not in source.body(one).names for one in classes
    )

"""What each module is called, what it offers, and what no module does, read from the sources."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Module

EMPTY_WORDS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "stuff", "base_utils"}
# The one name that many modules have: each verb file holds its `Verb` under it, and the registry collects them.
SAME_NAME_EVERYWHERE = {"VERB", "main"}
# The modules that write: whole files, and large ones in pieces.
WRITERS = {"forge.base.files", "forge.base.new_file"}
# (module, what it uses): why it may do what is forbidden elsewhere
EVALUATION_ALLOWED = {
    (
        "forge.compose.cache",
        "marshal",
    ): "reads back only what forge wrote into the user's private cache; builds plain values",
}
# Modules without a test file of their own, each with the test that covers it. This list only gets shorter.
TESTED_ELSEWHERE: dict[str, str] = {}


def public_names(module: Module) -> set[str]:
    """Functions, classes and constants defined at the top; imported names and type variables are no offer."""
    found: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and not _type_variable(node.value):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def _type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in {"TypeVar", "ParamSpec"}


def listed_names(module: Module) -> list[str] | None:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def handed_on(module: Module) -> set[str]:
    """Names imported from other modules of forge: a module may list them to offer them again."""
    statements = [node for node in module.tree.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name
        for node in statements
        if (node.module or "").startswith("forge")
        for alias in node.names
    }


def has_code(module: Module) -> bool:
    """Whether there is more than a docstring; a bare package marker offers nothing."""
    return any(not isinstance(node, (ast.Expr, ast.ImportFrom, ast.If)) for node in module.tree.body)


def calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def listing(found: dict[str, str]) -> str:
    """All of them, one a line: a shortened list of mistakes means as many runs as mistakes."""
    return "\n".join(f"{name}: {what}" for name, what in sorted(found.items()))


def test_no_module_has_a_name_that_says_nothing(modules: dict[str, Module]) -> None:
    assert [name for name in modules if name.rpartition(".")[2] in EMPTY_WORDS] == []


def test_each_module_says_what_it_is(modules: dict[str, Module]) -> None:
    assert [module.where(1) for module in modules.values() if not ast.get_docstring(module.tree)] == []


def test_all_lists_exactly_the_public_names(modules: dict[str, Module]) -> None:
    wrong = {}
    for module in modules.values():
        if not has_code(module):
            continue
        listed = listed_names(module)
        if listed is None:
            wrong[module.name] = "has no __all__"
            continue
        ours = {name for name in listed if name != "__version__"} - handed_on(module)
        if ours != public_names(module):
            missing, extra = public_names(module) - ours, ours - public_names(module)
            wrong[module.name] = f"not listed: {sorted(missing)}, not defined here: {sorted(extra)}"
        elif len(set(listed)) != len(listed):
            wrong[module.name] = "lists a name twice"
    assert wrong == {}, listing(wrong)


def test_each_public_name_has_one_home(modules: dict[str, Module]) -> None:
    homes = defaultdict(list)
    for module in modules.values():
        for name in set(listed_names(module) or []) & public_names(module) - SAME_NAME_EVERYWHERE:
            homes[name].append(module.name)
    several = {name: ", ".join(places) for name, places in homes.items() if len(places) > 1}
    assert several == {}, listing(several)


def test_each_module_has_its_own_tests(modules: dict[str, Module], root: Path) -> None:
    missing = {
        module.name
        for module in modules.values()
        if module.path.name != "__init__.py" and has_code(module) and not _test_file(module, root).exists()
    }
    untested = sorted(missing - set(TESTED_ELSEWHERE))
    assert untested == [], "\n".join(untested)
    assert sorted(set(TESTED_ELSEWHERE) - missing) == [], "these have tests now: take them off the list"


def _test_file(module: Module, root: Path) -> Path:
    *packages, name = module.name.split(".")[1:]
    return root.joinpath("tests", *packages, f"test_{name.strip('_')}.py")


def test_each_test_file_has_its_module(modules: dict[str, Module], root: Path) -> None:
    packages = {path.name for path in (root / "forge").iterdir() if path.is_dir()}
    stray = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        steps = path.relative_to(root / "tests").with_suffix("").parts
        if steps[0] in packages and steps[0] != "ml":
            name = ".".join(["forge", *steps[:-1], steps[-1].removeprefix("test_")])
            if name not in modules and not _covers_several(path):
                stray.append(str(path.relative_to(root)))
    assert stray == [], "\n".join(stray)


def _covers_several(path: Path) -> bool:
    """Whether the file says in its docstring what it tests across modules."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is not None


def test_files_are_written_in_one_place(modules: dict[str, Module]) -> None:
    wrong = [
        f"{module.where(call)}: {ast.unparse(call)[:80]}"
        for module in modules.values()
        if module.name not in WRITERS and module.package != "ml"
        for call, function in calls(module)
        if _writes(call, function)
    ]
    assert wrong == [], "\n".join(wrong)


_CHANGES_DISK = re.compile(
    r"os\.(replace|rename|renames|remove|unlink|rmdir|removedirs|mkdir|makedirs|symlink|link|truncate|chmod|chown|utime)"
    r"|shutil\.(copy\w*|move|rmtree|make_archive|unpack_archive)"
    r"|tempfile\.\w+|.*\.(write_text|write_bytes|touch|mkdir|unlink|rmdir|symlink_to)"
)


def _writes(call: ast.Call, function: str) -> bool:
    if call.args and ast.unparse(call.args[0]) == "os.devnull":
        return False
    if function in {"open", "io.open", "os.fdopen", "gzip.open"} or function.endswith(".open"):
        mode = next((word.value for word in call.keywords if word.arg == "mode"), None)
        position = 0 if function.endswith(".open") and function not in {"io.open", "gzip.open"} else 1
        if mode is None and len(call.args) > position:
            mode = call.args[position]
        return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(set("wax+") & set(mode.value))
    if function.startswith("tempfile."):
        return function != "tempfile.gettempdir"
    return _CHANGES_DISK.fullmatch(function) is not None


def test_nothing_is_evaluated_unpickled_or_given_to_a_shell(modules: dict[str, Module]) -> None:
    found = {}
    for module in modules.values():
        for used in module.imports:
            if _unsafe_import(used.target):
                found[module.name, used.target] = module.where(used.line)
        for call, function in calls(module):
            if _unsafe(call, function):
                found[module.name, function] = module.where(call)
    wrong = {" uses ".join(use): place for use, place in found.items() if use not in EVALUATION_ALLOWED}
    assert wrong == {}, listing(wrong)
    assert [use for use in EVALUATION_ALLOWED if use not in found] == [], "these are gone: take them off the list"


def _unsafe_import(target: str) -> bool:
    return target.partition(".")[0] in {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def _unsafe(call: ast.Call, function: str) -> bool:
    if function in {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "builtins.eval", "builtins.exec"}:
        return True
    if function in {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load"}:
        return True
    if function == "yaml.load" and not any(word.arg == "Loader" or word.arg is None for word in call.keywords):
        return len(call.args) < 2  # the second argument is the loader
    if function == "torch.load":
        return not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)
    return any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in call.keywords)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open(p)", False),
        ("open(p, 'rb')", False),
        ("open(p, 'w')", True),
        ("open(p, mode='ab')", True),
        ("path.open('x')", True),
        ("path.open()", False),
        ("os.replace(a, b)", True),
        ("text.replace(a, b)", False),
        ("folder.mkdir()", True),
        ("path.write_text(t)", True),
        ("output.write(t)", False),
        ("tempfile.mkdtemp()", True),
    ],
)
def test_a_call_that_writes_is_recognised(source: str, expected: object) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert _writes(call, ast.unparse(call.func)) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("eval(x)", True),
        ("model.eval()", False),
        ("re.compile(x)", False),
        ("yaml.load(x)", True),
        ("yaml.load(x, Loader=SafeLoader)", False),
        ("subprocess.run(x, shell=True)", True),
        ("subprocess.run(x)", False),
        ("torch.load(p)", True),
        ("torch.load(p, weights_only=True)", False),
    ],
)
def test_a_call_that_evaluates_is_recognised(source: str, expected: object) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert _unsafe(call, ast.unparse(call.func)) is expected


def test_the_map_names_each_package_and_the_readme_has_the_same_one(modules: dict[str, Module], root: Path) -> None:
    docstring = ast.get_docstring(modules["forge"].tree) or ""
    drawn = [line.strip() for line in docstring.splitlines() if "──>" in line]
    assert drawn
    packages = {module.package for module in modules.values()} - {"", "__main__"}
    unnamed = {name for name in packages if not re.search(rf"\b{name}\b", docstring)}
    assert unnamed == set()
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert [line.strip() for line in readme.splitlines() if "──>" in line] == drawn

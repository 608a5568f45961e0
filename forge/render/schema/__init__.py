"""JSON Schemas (draft 7) of a project's files, for editors that read YAML with one.

What a schema refuses is surely wrong: an argument that no possible target takes, a choice that no folder has, a plain value
of a type that no possible target wants. What other files decide (a reference, a value that is still open, a missing argument)
is never an error here; `forge check` composes the config and judges that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from forge.compose.project import PROJECT_FILE
from forge.graph.lower import SPECIAL_KEYS
from forge.graph.static.signature import Signatures
from forge.render.schema.calls import call_name, call_schema, is_closed, mapping_schema, parameter_rules
from forge.render.schema.defaults import choices_schema, defaults_schema
from forge.render.schema.descriptions import ARGS, META, project_schema
from forge.render.schema.seen import seen
from forge.render.schema.values import SHARED, Fragment, any_of, flag_rule

if TYPE_CHECKING:
    from forge.compose.project import Project
    from forge.graph.static.signature import Signature
    from forge.render.schema.seen import Branch, Seen

__all__ = ["CONFIG_SCHEMA", "schema_files", "schemas"]

CONFIG_SCHEMA: Final = "config.json"
"""The file that holds all definitions: the schema of whole configs."""

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_VALUE: Final[Fragment] = {"$ref": "#/definitions/value"}
_OBJECT: Final[Fragment] = {"anyOf": [{"required": ["_target_"]}, {"required": ["_symbol_"]}]}


def schemas(project: Project) -> dict[str, Fragment]:
    """The schemas of a project by file name: whole configs, ``project.yaml``, and one for the choices of each group."""
    return _Writer(project).files()


def schema_files(project: Project) -> dict[str, list[str]]:
    """For each schema the patterns of the files it is for, as ``yaml.schemas`` of VS Code takes them."""
    files = project.files()
    own = {config.name for config in project.configs()}
    schema = {
        name: CONFIG_SCHEMA if name in own else _choice_file(group)
        for name in files
        if (group := name.rpartition("/")[0]) or name in own
    }
    in_folder: dict[str, set[str]] = {}
    for name, wanted in schema.items():
        in_folder.setdefault(os.path.dirname(files[name]), set()).add(wanted)
    found: dict[str, set[str]] = {"project.json": {os.path.join(project.folder, PROJECT_FILE)}}
    for name, wanted in schema.items():
        folder = os.path.dirname(files[name])
        alone = len(in_folder[folder]) == 1  # so that files written later are meant, too
        found.setdefault(wanted, set()).add(os.path.join(folder, "*.yaml") if alone else files[name])
    return {wanted: sorted(patterns) for wanted, patterns in found.items()}


def _choice_file(group: str) -> str:
    return f"choice.{group.replace('/', '.')}.json"


class _Writer:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.seen: Seen = seen(project)
        signatures = Signatures([folder for folder in project.source_folders if os.path.isdir(folder)])
        lookups = {target: signatures.lookup(target) for target in self.seen.targets}
        signatures.save()
        self.signatures: dict[str, Signature] = {
            target: found.signature for target, found in lookups.items() if found.signature is not None
        }
        self.definitions: dict[str, Fragment] = {}

    def files(self) -> dict[str, Fragment]:
        define = self.definitions
        define |= SHARED
        define["args"], define["meta"] = ARGS, META
        define["value"] = {
            "if": {"type": "object"},
            "then": {"$ref": "#/definitions/mapping"},
            "else": {"if": {"type": "array"}, "then": {"items": _VALUE}},
        }
        define["mapping"] = mapping_schema(self.seen, self.signatures)
        define |= {call_name(target): call_schema(one) for target, one in self.signatures.items()}
        define |= choices_schema(self.seen)
        define["config"] = self._config()
        found = {"project.json": {"$schema": _DRAFT, **project_schema(self.seen)}}
        for group, packages in self.seen.packages.items():
            define[f"choice.{group.replace('/', '.')}"] = self._choice(group, packages)
            found[_choice_file(group)] = {
                "$schema": _DRAFT,
                "title": f"A choice of the group {group} of {self.project.name}",
                "allOf": [{"$ref": f"{CONFIG_SCHEMA}#/definitions/choice.{group.replace('/', '.')}"}],
            }
        whole: Fragment = {
            "$schema": _DRAFT,
            "title": f"A config of {self.project.name}",
            "$comment": "Written by `forge schema`; write it again when files were added or targets changed. To use it, put"
            " `# yaml-language-server: $schema=PATH` into a config below its `# @package` line, or run `forge schema -o FOLDER/`.",
            "allOf": [{"$ref": "#/definitions/config"}],
            "definitions": define,
        }
        return {CONFIG_SCHEMA: whole, **found}

    def _config(self) -> Fragment:
        """A file that speaks for the whole config."""
        folders = {"", *(name.rpartition("/")[0] for name in self.seen.configs)}
        children = {key: self._place(child, (key,)) for key, child in self.seen.root.children.items()}
        return {
            "type": ["object", "null"],
            "properties": {
                "defaults": defaults_schema(self.seen, folders),
                "meta": {"$ref": "#/definitions/meta"},
                "args": {"$ref": "#/definitions/args"},
                "hydra": {},
                **children,
            },
            "additionalProperties": _VALUE,
        }

    def _choice(self, group: str, packages: tuple[str, ...]) -> Fragment:
        """A choice of a group, whose content lies at one of some places of the config."""
        return {
            "properties": {"defaults": defaults_schema(self.seen, [group])},
            "allOf": [any_of(self._content(package) for package in packages)],
        }

    def _content(self, package: str) -> Fragment:
        if package in {"", "args", "meta"}:
            return {"$ref": f"#/definitions/{package or 'config'}"}
        path = tuple(package.split("."))
        place = self.seen.root.find(path)
        if place is None or f"at.{package}" not in self.definitions:
            return _VALUE
        return {"$ref": f"#/definitions/at.{package}"}

    def _place(self, place: Branch, path: tuple[str, ...]) -> Fragment:
        """What stands at one place; a mapping with a target of its own is judged by that target alone."""
        rules = self.seen.rules.get(".".join(path), ())
        rule = any_of(flag_rule(argument) for argument in rules)
        about: Fragment = (
            {"description": help_text} if (help_text := next((r.help for r in rules if r.help), "")) else {}
        )
        if not place.targets and not place.children:
            return {**about, "allOf": [_VALUE, *([rule] if rule else [])]}
        name = f"at.{'.'.join(path)}"
        self.definitions[name] = {
            **about,
            "allOf": [_VALUE, *([rule] if rule else [])],
            "if": _OBJECT,
            "else": self._keys(place, path),
        }
        return {"$ref": f"#/definitions/{name}"}

    def _keys(self, place: Branch, path: tuple[str, ...]) -> Fragment:
        """The keys of a mapping whose target, if it has one, is named in another file."""
        found = [self.signatures[target] for target in sorted(place.targets) if target in self.signatures]
        every_one_known = len(found) == len(place.targets) and not place.plain
        keys: dict[str, Any] = {key: self._place(child, (*path, key)) for key, child in place.children.items()}
        for name, rule in parameter_rules(found).items():
            about = {"description": rule.pop("description")}
            parts = [part for part in (rule if every_one_known else {}, keys.get(name)) if part]
            keys[name] = about | ({"allOf": parts} if parts else {})
        if not (found and every_one_known and all(map(is_closed, found))):
            return {"properties": keys}
        return {"properties": {key: {} for key in (*SPECIAL_KEYS, "defaults")} | keys, "additionalProperties": False}

"""``forge schema``: JSON Schema of a project's configs, for editors."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from forge.base.origin import shown_path
from forge.cli.options import Option
from forge.cli.registry import Verb
from forge.cli.session import write_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.api.project import ProjectHandle
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.render.schema import CONFIG_SCHEMA  # `forge --help` draws nothing

    project = context.project
    found = project.schemas()
    asked: str | None = context.options.output
    if asked is None:
        context.emit_json(found[CONFIG_SCHEMA], "schema")
        return 0
    if os.path.isdir(asked) or asked.endswith(os.sep):
        _write_all(asked, found)
        paths = {name: os.path.join(os.path.abspath(asked), name) for name in found}
        context.output.write(_usage(project, paths, paths[CONFIG_SCHEMA]))
    else:
        context.emit_json(found[CONFIG_SCHEMA], "schema")
        path = os.path.abspath(asked)
        context.output.write(_usage(project, {CONFIG_SCHEMA: path}, path))
    return 0


def _write_all(folder: str, found: Mapping[str, Any]) -> None:
    from forge.base.files import make_folder

    make_folder(folder)
    for name, schema in found.items():
        write_result(os.path.join(folder, name), json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def _usage(project: ProjectHandle, paths: Mapping[str, str], config_schema: str) -> str:
    """What to write where, so that editors use the schemas."""
    files = project.schema_files()
    settings = {
        _from_here(path): [_from_here(pattern, glob=True) for pattern in files[name]]
        for name, path in paths.items()
        if name in files
    }
    return "\n".join(
        [
            f"written: {', '.join(map(shown_path, paths.values())) if len(paths) == 1 else shown_path(config_schema)}"
            + (f" and {len(paths) - 1} more beside it" if len(paths) > 1 else ""),
            "",
            "For one config, below its '# @package' line (the path is seen from the config):",
            f"# yaml-language-server: $schema={os.path.relpath(config_schema, project.project.config_folder)}",
            "",
            "For all of them, in .vscode/settings.json (VS Code with the YAML extension), opened in this folder:",
            json.dumps({"yaml.yamlVersion": "1.1", "yaml.schemas": settings}, indent=2, ensure_ascii=False),
        ]
    )


def _from_here(path: str, *, glob: bool = False) -> str:
    """A path as the editor's settings take it: seen from the folder it is opened in, or whole."""
    shown = shown_path(path)
    return shown if glob or os.path.isabs(shown) else f"./{shown}"


VERB = Verb(
    name="schema",
    summary="write JSON Schema of the project's configs, for editors",
    help="""\
Write JSON Schema (draft 7), as the YAML language server of VS Code, vim and others reads it: groups with their choices,
the known keys of the config, and targets with their parameters, types and documentation, read from the sources without
importing them. -o FILE writes the schema of whole configs; -o FOLDER/ also writes one for project.yaml and for the choices
of each group, and prints the settings that use them. A schema refuses only what is surely wrong; check finds the rest.

  forge schema -o .forge/
  forge -p pydoc schema -o config.schema.json
""",
    run=_run,
    options=(Option(("-o", "--output"), "write to this file, or into this folder/", "PATH", completes="file"),),
)

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_without_a_file_it_prints_the_schema_of_whole_configs(run: Run) -> None:
    done = run("schema")
    assert (done.code, done.errors) == (0, "")
    schema = json.loads(done.out)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert {"defaults", "meta", "args", "trainer"} <= set(schema["definitions"]["config"]["properties"])
    assert "hunter2" not in done.out


def test_into_a_folder_go_all_schemas_and_the_settings_are_printed(run: Run, project: Path) -> None:
    done = run("schema", "-o", ".forge/")
    assert (done.code, done.errors) == (0, "")
    names = {path.name for path in (project / ".forge").iterdir()}
    assert {"config.json", "project.json", "choice.size.json", "choice.optimizer.json"} <= names
    assert "# yaml-language-server: $schema=../.forge/config.json" in done.out
    settings = json.loads(done.out[done.out.index("{") :])["yaml.schemas"]
    assert settings["./.forge/config.json"] == ["configs/*.yaml"]
    assert settings["./.forge/choice.size.json"] == ["configs/size/*.yaml"]
    assert set(settings) <= {f"./.forge/{name}" for name in names}


def test_into_a_file_goes_the_schema_of_whole_configs(run: Run, project: Path) -> None:
    done = run("schema", "-o", "config.schema.json")
    assert done.code == 0
    assert json.loads((project / "config.schema.json").read_text()) == json.loads(run("schema").out)
    assert '"./config.schema.json"' in done.out

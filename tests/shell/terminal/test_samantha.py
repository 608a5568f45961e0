"""The walk through the tutorial of the Samantha project, from the first line to the last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from screens import ENTER, TAB

if TYPE_CHECKING:
    from conftest import Open

SAMANTHA = Path(__file__).resolve().parents[3] / "projects" / "samantha"
PACKED = "forge:samantha [llama2_7b/1gpu_packed.yaml]>"


def test_the_whole_walk(opened: Open, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "opened %s\\n" "$@"\nhead -n 2 "$1"\n')
    editor.chmod(0o755)
    terminal = opened(folder=SAMANTHA, columns=110, lines=120, EDITOR=str(editor), LESS="FRX", PAGER="less")

    def run(line: str, *seen: str) -> None:
        """Run a line on a clean screen, and see its result."""
        terminal.send("\x0c")
        terminal.run(line, 20)
        missing = [text for text in seen if text not in terminal.text]
        assert not missing, f"{missing} is not in\n{terminal.framed()}"

    assert terminal.rows[1] == "forge:samantha>"
    run("help", "what only the shell has:", "save-as")
    run("commands", "verbs of the command line:", "trefs")
    run("ls", "samantha", "llama2_7b/1gpu_packed", "llama3_1b/2gpu_pp_i1f1b")

    # The configuration is chosen with Tab, as it is written, and stands in the prompt.
    terminal.send("\x0c")
    terminal.type("config pack")
    terminal.until(lambda now: now.listed and now.listed[0].startswith("llama2_7b/1gpu_packed")).send(TAB)
    terminal.until("config llama2_7b/1gpu_packed").send(ENTER + ENTER)
    terminal.until(PACKED).prompt()
    run("config llama2_7b/1gpu_packed.yaml", PACKED)

    # Which files it is made of, in the editor and as a picture.
    run("trefs", "llama2_7b/1gpu_packed", "_samantha", "trainer/default")
    run("trefs --format svg -e", "opened ", "<svg")
    run(f"trefs --format svg -o {tmp_path}/packed.svg")
    assert (tmp_path / "packed.svg").read_text().startswith("<svg")

    # The files themselves: by path, by name, by number from the list.
    run("edit configs/llama2_7b/1gpu_packed.yaml", f"opened {SAMANTHA}/configs/llama2_7b/1gpu_packed.yaml")
    run("edit _samantha", f"opened {SAMANTHA}/configs/_samantha.yaml")
    terminal.send("\x0c")
    terminal.type("edit").send(ENTER)
    terminal.until("type to filter").send("trainer/default")
    terminal.until(lambda now: "optimizer/adafactor.yaml" not in now.text).send(ENTER)
    terminal.until("/configs/trainer/default.yaml").prompt()
    run("edit 1-2", "opened ", "1gpu_packed.yaml")

    # What it comes to: composed, as Python, with its own flags.
    run("show -e", "opened ", "llama2_7b-1gpu_packed")
    run("show --path dataset", "packing: best_fit")
    run("graph --format python -e", "opened ", "llama2_7b-1gpu_packed.py")
    run("code --target optimizer", "Adafactor")
    run("graph --focus optimizer", "Adafactor")
    run("why trainer.enable_activation_offloading", "1gpu_packed.yaml:")
    run("train --help", "flags of llama2_7b/1gpu_packed:", "--max-steps", "--chat-template", "--detach")
    run(
        "train --dry-run -M models/mistral --max-steps 10 --save-strategy no",
        "# llama2_7b/1gpu_packed of samantha, which writes below models/mistral",
        "there is no model folder models/mistral",
    )
    run("check", "llama2_7b/1gpu_packed")
    run("diff llama2_7b/1gpu_default", "packing")

    # A change is tried, seen, and taken back.
    run("set optimizer=adamw --learning-rate 1e-5", PACKED)
    run("overrides", "optimizer=adamw", "optimizer.lr=1e-05")
    run("show --path optimizer._target_", "AdamW")
    run("undo", "project samantha, config llama2_7b/1gpu_packed")
    run("show --path optimizer._target_", "Adafactor")
    terminal.type("quit").send(ENTER)
    assert terminal.ended() == 0

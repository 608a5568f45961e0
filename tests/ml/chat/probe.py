"""Renders each probe under an audit hook, and says what it printed, what it reached, and whether it changed anything."""

from __future__ import annotations

import copy
import json
import sys

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.template import Template

HARMLESS = {"object.__getattr__", "sys._getframe", "gc.get_objects"}
CONVERSATION = Conversation(
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}], [{"type": "f"}]
)
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}{{ dict(a=1) }}{{ namespace(a=1).a }}"


class Watch:
    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def __call__(self, event: str, _arguments: object) -> None:
        if self.on and event not in HARMLESS:
            self.seen.append(event)


def main() -> None:
    watch = Watch()
    sys.addaudithook(watch)
    with open(sys.argv[1], encoding="utf-8") as file:
        probes = [line.rstrip("\n") for line in file if not line.startswith("#")]
    plain = Template(PLAIN)
    expected = plain.render(CONVERSATION).text
    for probe in probes:
        before = copy.deepcopy(CONVERSATION)
        watch.seen = []
        try:
            template = Template(probe)
            watch.on = True
            shown = template.render(CONVERSATION).text
        except (RowError, ValueError) as error:
            shown = ""
            ended = str(error)
        else:
            ended = "rendered"
        finally:
            watch.on = False
        untouched = before == CONVERSATION and plain.render(CONVERSATION).text == expected
        sys.stdout.write(json.dumps([probe, shown, ended, watch.seen, untouched]) + "\n")


main()

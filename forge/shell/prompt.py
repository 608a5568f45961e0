"""The prompt of the shell: reads a line, with completion, colours, history and a toolbar where the terminal can show them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, final

from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, completion_is_selected, is_searching
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.keys import Keys
from prompt_toolkit.shortcuts import PromptSession

from forge.base.errors import ForgeError
from forge.cli.session import project_of
from forge.shell.complaint import Complaints
from forge.shell.completer import ShellCompleter
from forge.shell.history import LineHistory
from forge.shell.lexer import ShellLexer
from forge.shell.rank import Ranker, Usage
from forge.shell.refresh import Refresher
from forge.shell.settings import Settings, shell_settings
from forge.shell.state import Choice
from forge.shell.style import STYLE
from forge.shell.suggest import OPEN_ENDS, suggest
from forge.shell.toolbar import ToolbarFacts, toolbar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyPressEvent
    from prompt_toolkit.output import Output

    from forge.shell.state import ShellSession
    from forge.shell.suggest import Suggestion

__all__ = ["Prompt", "make_prompt", "read_line"]

_RECENT: Final = 300
_MODES: Final = {"emacs": EditingMode.EMACS, "vi": EditingMode.VI}


@final
class Prompt:
    """The prompt of one shell, for a ``with`` block: what it does in the background ends with that.

    ``session`` is prompt_toolkit's; None on a terminal that can only print, where a line is read as it comes.
    """

    def __init__(self, shell: ShellSession, session: PromptSession[str] | None) -> None:
        self.shell = shell
        self.session = session
        self.complaints = Complaints()
        self.history = LineHistory(lambda: self._folder)
        self.refresher = Refresher(self._choice(), shell.verbs, self.complaints, self._redraw)
        self._folder = self._project = self._config = ""
        self._ranker: Ranker | None = None

    def __enter__(self) -> Prompt:
        """Begin to look at the config."""
        if self.session is not None:
            self.refresher.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End what goes on in the background."""
        self.refresher.close()

    def read(self) -> str:
        """Read one line; EOFError at the end of the input, KeyboardInterrupt when the line was given up."""
        self.complaints.next_prompt()
        self._settle()
        if self.session is None:
            return self._read_plain()
        self._ranker = None
        self.refresher.request(self._choice())
        return self.session.prompt(_coloured(self.shell.prompt))

    def _read_plain(self) -> str:
        errors = self.shell.output.errors
        errors.write(self.shell.prompt)
        errors.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        self.history.add(line.removesuffix("\n"))
        return line.removesuffix("\n")

    def _settle(self) -> None:
        """Take what this line begins with: the project and the config, and whose history it belongs to."""
        try:
            project = project_of(self.shell)
        except ForgeError:
            self._folder, self._project, self._config = self._choice().folder, "", ""
        else:
            self._folder, self._project = project.folder, project.name
            self._config = self.shell.config or project.project.default_config or ""

    def _choice(self) -> Choice:
        try:
            return self.shell.choice
        except ForgeError:  # the current folder is gone: whatever is typed will say so
            return Choice(os.sep)

    def suggestions(self, text: str, cursor: int) -> list[Suggestion]:
        """What may come next at the cursor."""
        if self._ranker is None:
            usage = Usage()
            for line in self.history.lines()[-_RECENT:]:
                usage.add_line(line)
            self._ranker = Ranker(usage)
        return suggest(text, cursor, self.refresher.snapshot, self._ranker)

    def toolbar(self) -> StyleAndTextTuples:
        """The line at the bottom, as it is now."""
        return self.complaints.guarded("the toolbar failed", lambda: toolbar(self._facts()), [])

    def _facts(self) -> ToolbarFacts:
        refresher, session = self.refresher, self.session
        keys, width, unicode = "emacs", 80, True
        if session is not None:
            app = session.app
            width, unicode = app.output.get_size().columns, app.output.encoding().lower().startswith("utf")
            if app.editing_mode == EditingMode.VI:
                keys = "vi" if app.vi_state.input_mode == InputMode.INSERT else "vi, normal mode"
        return ToolbarFacts(
            self._project,
            self._config,
            refresher.snapshot.state,
            len(self.shell.overrides),
            refresher.jobs,
            refresher.checking or refresher.snapshot.choice != self._choice(),
            self.complaints.text,
            keys,
            width,
            unicode,
        )

    def _redraw(self) -> None:
        if self.session is not None and self.session.app.is_running:
            self.session.app.invalidate()


class _SharedHistory(History):
    """The lines of the workspace for prompt_toolkit, which asks for them anew at each prompt."""

    def __init__(self, lines: LineHistory) -> None:
        super().__init__()
        self._lines = lines

    async def load(self) -> AsyncGenerator[str, None]:
        """The newest first, with those that other shells have added since."""
        self._loaded_strings = self._lines.lines()[::-1]
        for line in self._loaded_strings:
            yield line

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        return self._lines.lines()[::-1]

    def store_string(self, string: str) -> None:
        """Add a line to those of the workspace."""
        self._lines.add(string)


def make_prompt(shell: ShellSession, input: Input | None = None, output: Output | None = None) -> Prompt:  # noqa: A002 - as prompt_toolkit names it
    """The prompt for a shell, as much of it as the terminal can show; other input and output are for tests."""
    if input is None and not _can_draw(os.environ):
        return Prompt(shell, None)
    try:
        settings = shell_settings()
    except ForgeError as error:
        shell.output.error(error)
        settings = Settings()
    session: PromptSession[str] = PromptSession(
        editing_mode=_MODES[settings.keys],
        complete_while_typing=True,
        search_ignore_case=True,
        enable_suspend=True,
        enable_open_in_editor=True,
        auto_suggest=AutoSuggestFromHistory(),
        style=STYLE,
        include_default_pygments_style=False,
        key_bindings=_keys(),
        input=input,
        output=output,
    )
    prompt = Prompt(shell, session)
    session.completer = ShellCompleter(prompt.suggestions, prompt.complaints)
    session.lexer = ShellLexer(lambda: prompt.refresher.verb_names, prompt.complaints)
    session.bottom_toolbar = prompt.toolbar
    session.history = session.default_buffer.history = _SharedHistory(prompt.history)
    return prompt


def read_line(prompt: Prompt) -> str:
    """Read one line; EOFError at the end of the input, KeyboardInterrupt when the line was given up."""
    return prompt.read()


def _coloured(prompt: str) -> StyleAndTextTuples:
    """The prompt with the config in a colour of its own."""
    where, opening, config = prompt.partition(" [")
    name, closing, end = config.rpartition("]")
    return [("class:prompt", where + opening), ("class:prompt.config", name), ("class:prompt", closing + end)]


def _can_draw(environ: Mapping[str, str]) -> bool:
    return environ.get("TERM", "") not in {"", "dumb"} and sys.stdout.isatty()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("f4")
    def toggle(event: KeyPressEvent) -> None:
        """Change between vi and emacs keys."""
        is_vi = event.app.editing_mode == EditingMode.VI
        event.app.editing_mode = EditingMode.EMACS if is_vi else EditingMode.VI

    @keys.add("enter", filter=completion_is_selected)
    def take(event: KeyPressEvent) -> None:
        """Take the chosen completion; the line runs with the next Enter, so that nothing starts that was only looked at."""
        _take_completion(event.current_buffer)

    @keys.add("tab", filter=_has_one_completion)
    def take_only(event: KeyPressEvent) -> None:
        """Take the only completion there is: a list with one line would have to be closed first."""
        buffer = event.current_buffer
        buffer.go_to_completion(0)
        _take_completion(buffer)

    @keys.add("enter", filter=_lacks_a_value & ~is_searching & ~completion_is_selected)
    def run_or_wait(event: KeyPressEvent) -> None:
        """Run the line, unless Tab has just written a key that waits for its value."""
        if event.previous_key_sequence[-1:] and event.previous_key_sequence[-1].key == Keys.Tab:
            event.current_buffer.start_completion()
        else:
            event.current_buffer.validate_and_handle()

    return keys


@Condition
def _lacks_a_value() -> bool:
    return get_app().current_buffer.document.text_before_cursor.endswith(("=", "."))


@Condition
def _has_one_completion() -> bool:
    state = get_app().current_buffer.complete_state
    return state is not None and len(state.completions) == 1 and state.complete_index is None


def _take_completion(buffer: Buffer) -> None:
    """Let what was put into the line stay there, and go on where there is more of it."""
    buffer.complete_state = None
    if buffer.document.text_before_cursor.endswith(OPEN_ENDS):
        buffer.start_completion()

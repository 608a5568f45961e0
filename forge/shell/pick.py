"""A list on the terminal from which a person marks what is meant: type to filter, Space or Tab marks, Enter takes, Esc leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, VSplit, Window
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.styles import Style

from forge.base.errors import UsageError
from forge.cli.menu import is_numbers, positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.input import Input
    from prompt_toolkit.key_binding import KeyPressEvent
    from prompt_toolkit.output import Output

    from forge.cli.menu import MenuItem

__all__ = ["fuzzy", "pick"]

_HELP: Final = "type to filter, or 1-3,7 · Space marks · Ctrl-A all · Enter opens · Esc leaves"
_ESCAPE_SECONDS: Final = 0.05  # how long a lone Esc may turn out to be the start of an arrow key
_HEIGHT: Final = 20
_STYLE: Final = Style.from_dict({"group": "bold", "here": "reverse", "marked": "ansigreen bold", "help": "#777777"})


def pick(
    title: str, items: Sequence[MenuItem], *, source: Input | None = None, screen: Output | None = None
) -> list[int]:
    """Let a person choose among the items; the positions of those that were chosen, none when they left."""
    return _Picker(title, items).application(source, screen).run() or []


def fuzzy(needle: str, item: MenuItem) -> bool:
    """Whether each word of the needle has its letters in the item, in this order, or is part of its group's name."""
    return all(word in item.group.lower() or _in_order(word, item.text.lower()) for word in needle.lower().split())


def _in_order(word: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in word)


class _Picker:
    """What is shown, marked and looked at."""

    def __init__(self, title: str, items: Sequence[MenuItem]) -> None:
        self.title = title
        self.items = items
        self.marked: set[int] = set()
        self.at = 0
        self.buffer = Buffer(multiline=False, on_text_changed=self._filtered)

    @property
    def shown(self) -> list[int]:
        """The positions of the items that the filter names by their numbers or lets through."""
        return self.numbered or [position for position, item in enumerate(self.items) if fuzzy(self.buffer.text, item)]

    @property
    def numbered(self) -> list[int]:
        """The positions that the filter names by their numbers, as in ``1-3,7``."""
        words = self.buffer.text.strip()
        try:
            return positions(words, len(self.items)) if is_numbers(words) else []
        except UsageError:  # no number of this list: a part of a name, then
            return []

    @property
    def taken(self) -> list[int]:
        """What Enter takes: the marked items, without any those that numbers name, or the one under the cursor."""
        return sorted(self.marked) or self.numbered or self.shown[self.at : self.at + 1]

    def _filtered(self, _buffer: Buffer) -> None:
        """Stand on the first item that has the words as they were typed, when one has."""
        words = self.buffer.text.lower().split()
        texts = [self.items[position].text.lower() for position in self.shown]
        self.at = next((row for row, text in enumerate(texts) if all(word in text for word in words)), 0)

    def move(self, by: int) -> None:
        """Go up or down, around the ends."""
        if count := len(self.shown):
            self.at = (self.at + by) % count

    def mark(self) -> None:
        """Mark the item under the cursor, or take the mark away, and go on to the next."""
        if here := self.shown[self.at : self.at + 1]:
            self.marked ^= set(here)
            self.move(1)

    def mark_all(self) -> None:
        """Mark everything that is shown, or nothing of it when all of it was marked."""
        shown = set(self.shown)
        self.marked = self.marked - shown if shown <= self.marked else self.marked | shown

    # ---- on the screen

    def application(self, source: Input | None, screen: Output | None) -> Application[list[int]]:
        """The full list with its filter, drawn below the prompt and gone afterwards."""
        filter_line = VSplit(
            [
                Window(FormattedTextControl(lambda: [("bold", f"{self.title}: ")]), dont_extend_width=True, height=1),
                Window(BufferControl(self.buffer), height=1),
            ]
        )
        rows = Window(
            FormattedTextControl(self._rows, get_cursor_position=self._cursor, show_cursor=False),
            height=Dimension(min=1, max=_HEIGHT, preferred=_HEIGHT),
            dont_extend_height=True,
        )
        help_line = Window(FormattedTextControl([("class:help", _HELP)]), height=1)
        application: Application[list[int]] = Application(
            Layout(HSplit([filter_line, rows, help_line])),
            key_bindings=self._keys(),
            style=_STYLE,
            erase_when_done=True,
            input=source,
            output=screen,
        )
        application.ttimeoutlen = _ESCAPE_SECONDS
        application.timeoutlen = _ESCAPE_SECONDS
        return application

    def _rows(self) -> StyleAndTextTuples:
        found: StyleAndTextTuples = []
        group = None
        width = len(str(len(self.items)))
        for row, position in enumerate(self.shown):
            item = self.items[position]
            if item.group != group:
                group = item.group
                found.append(("class:group", f"{group}\n"))
            marked = position in self.marked
            style = "class:here" if row == self.at else "class:marked" if marked else ""
            found.append(
                (
                    style,
                    f"{'>' if row == self.at else ' '}{'x' if marked else ' '} {position + 1:>{width}}  {item.text}\n",
                )
            )
        return found or [("class:help", "nothing is called so\n")]

    def _cursor(self) -> Point:
        """The line of the cursor, the titles of groups counted, so that the list scrolls to it."""
        before = [self.items[position].group for position in self.shown[: self.at + 1]]
        return Point(0, max(0, len(before) - 1 + len(set(before))))

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("up")
        @keys.add("c-p")
        @keys.add("s-tab")
        def _up(_event: KeyPressEvent) -> None:
            self.move(-1)

        @keys.add("down")
        @keys.add("c-n")
        def _down(_event: KeyPressEvent) -> None:
            self.move(1)

        @keys.add("pageup")
        def _page_up(_event: KeyPressEvent) -> None:
            self.at = max(0, self.at - _HEIGHT)

        @keys.add("pagedown")
        def _page_down(_event: KeyPressEvent) -> None:
            self.at = max(0, min(len(self.shown) - 1, self.at + _HEIGHT))

        @keys.add(" ")
        @keys.add("tab")
        def _mark(_event: KeyPressEvent) -> None:
            self.mark()

        @keys.add("c-a")
        def _mark_all(_event: KeyPressEvent) -> None:
            self.mark_all()

        @keys.add("enter")
        def _take(event: KeyPressEvent) -> None:
            event.app.exit(result=self.taken)

        @keys.add("escape")
        @keys.add("c-c")
        @keys.add("c-d")
        def _leave(event: KeyPressEvent) -> None:
            event.app.exit(result=[])

        return keys

"""A headless Chromium, driven over the pipe of its DevTools protocol with nothing but the standard library."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

PROGRAM = shutil.which("chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
KEYS = {"Escape": 27, "Enter": 13, "/": 191, "+": 187, "-": 189, "0": 48, " ": 32}


class BrowserError(Exception):
    """The browser refused a command, or was too slow."""


class Chromium:
    """One browser process with a profile of its own; a context manager that ends it."""

    def __init__(self, profile: str, *, patience: float = 60) -> None:
        assert PROGRAM, "no chromium on PATH"
        self.patience = patience
        command_end, self._writer = os.pipe()
        self._reader, answer_end = os.pipe()
        # The child must find the pipes at 3 and 4; far away from there they cannot overwrite each other.
        far = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 50) for end in (command_end, answer_end)]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        places = [(null, 0), (null, 1), (null, 2), (far[0], 3), (far[1], 4)]
        self.pid = os.posix_spawn(
            PROGRAM,
            [PROGRAM, *FLAGS, f"--user-data-dir={profile}"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, number) for source, number in places],
            setsid=True,
        )
        for end in (command_end, answer_end, null, *far):
            os.close(end)
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._reader)
        os.close(self._writer)

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile is kept in ``events``."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        rest = memoryview(json.dumps(message).encode() + b"\0")
        while rest:
            rest = rest[os.write(self._writer, rest) :]
        deadline = time.monotonic() + self.patience
        while True:
            answer = self._receive(deadline)
            if answer.get("id") != self._last:
                self.events.append(answer)
            elif "error" in answer:
                raise BrowserError(f"{method}: {answer['error']['message']}")
            else:
                return dict(answer["result"])

    def wait_for(self, method: str, session: str) -> dict[str, Any]:
        """The first event of a kind that nobody has waited for yet."""
        deadline = time.monotonic() + self.patience
        while True:
            for event in self.events:
                if event["method"] == method and event.get("sessionId") == session and not event.get("seen"):
                    event["seen"] = True
                    return event
            self.events.append(self._receive(deadline))

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._reader, 1 << 20) if ready else b""
            if not part:
                raise BrowserError("Chromium ended" if ready else f"Chromium said nothing for {self.patience} s")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def open(self, url: str, *, dark: bool = False, size: tuple[int, int] = (1280, 800)) -> Tab:
        """A new tab with a page loaded in it."""
        return Tab(self, url, dark=dark, size=size)


class Tab:
    """One page: what it did, what it shows, and a user's hands."""

    def __init__(self, browser: Chromium, url: str, *, dark: bool, size: tuple[int, int]) -> None:
        self.browser = browser
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        width, height = size
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        self.send(
            "Emulation.setEmulatedMedia", features=[{"name": key, "value": held} for key, held in features.items()]
        )
        self.send("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired", self.session)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.send(method, self.session, **parameters)

    def close(self) -> None:
        self.browser.send("Target.closeTarget", targetId=self.target)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of an element; empty when there is none."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        middle = f"(box => [box.x + box.width / 2, box.y + box.height / 2])({_box(selector)})"
        self.press(*self.run(middle))

    def press(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, name: str) -> None:
        """Press and release a key."""
        text = "\r" if name == "Enter" else name if len(name) == 1 else ""
        code = KEYS.get(name, ord(name[0].upper()))
        self.send("Input.dispatchKeyEvent", type="keyDown", key=name, text=text, windowsVirtualKeyCode=code)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def screenshot(self) -> bytes:
        """What the tab shows, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def complaints(self) -> list[str]:
        """Everything the console said so far: exceptions, errors, refused styles and scripts."""
        self.run("1")
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self._events() if event["method"] in kinds]

    def requests(self) -> list[str]:
        """The address of everything the page asked for."""
        sent = [event for event in self._events() if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def _events(self) -> list[dict[str, Any]]:
        return [event for event in self.browser.events if event.get("sessionId") == self.session]


def _box(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"

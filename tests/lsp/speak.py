"""A small client of the language server protocol: a process, its stdin and stdout, and a thread that reads."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

TIMEOUT = 60.0


class Client:
    """Speaks with one server. Use it in a ``with``; ``settings`` answers what the server asks for its sections."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = dict(settings or {})
        self.process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment) if environment is not None else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._number = 0
        self._answers: dict[int, Any] = {}
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}
        self._versions: dict[str, int] = {}
        self._errors: list[bytes] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._drain)]

    def __enter__(self) -> Self:
        for reader in self._readers:
            reader.start()
        self.capabilities = self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": self.folder.as_uri(),
                "workspaceFolders": [{"uri": self.folder.as_uri(), "name": self.folder.name}],
                "capabilities": {
                    "workspace": {"configuration": True},
                    "textDocument": {
                        "hover": {"contentFormat": ["markdown"]},
                        "completion": {"completionItem": {"documentationFormat": ["markdown"]}},
                        "publishDiagnostics": {"relatedInformation": True},
                    },
                },
            },
        )["capabilities"]
        self.notify("initialized", {})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process.poll() is None and kind is None:
                self.request("shutdown", None)
                self.notify("exit", None)
                self.process.wait(TIMEOUT)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            for reader in self._readers:
                reader.join()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()

    @property
    def errors(self) -> str:
        """What the server wrote to stderr so far."""
        return b"".join(self._errors).decode()

    def request(self, method: str, parameters: Any) -> Any:
        """Ask, and wait for the answer."""
        self._number += 1
        number = self._number
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters})
        self._until(lambda: number in self._answers, f"an answer to {method}")
        answer = self._answers.pop(number)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def notify(self, method: str, parameters: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": parameters})

    def open(self, file: Path, text: str | None = None) -> None:
        """Open a file, with what stands on the disk or with another text, and wait until it has been judged."""
        uri = file.as_uri()
        self.diagnostics.pop(uri, None)
        self._versions[uri] = 1
        text = file.read_text() if text is None else text
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        self.judged(file)

    def change(self, file: Path, text: str, *, wait: bool = True) -> None:
        """Replace the whole text, without saving it."""
        uri = file.as_uri()
        self.diagnostics.pop(uri, None)
        self._versions[uri] += 1
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})
        if wait:
            self.judged(file)

    def judged(self, file: Path) -> list[dict[str, Any]]:
        """The diagnostics of a file, once there are any news of it."""
        uri = file.as_uri()
        self._until(lambda: uri in self.diagnostics, f"diagnostics of {file}")
        return self.diagnostics[uri]

    def told(self, file: Path, text: str) -> None:
        """Wait until a diagnostic of a file has this text; judgements of how things were before may come first."""
        uri = file.as_uri()
        self._until(lambda: any(text in one["message"] for one in self.diagnostics.get(uri, ())), f"{text!r} of {file}")

    def at(self, method: str, file: Path, line: int, character: int) -> Any:
        """A request about a position, counted from 0."""
        place = {"textDocument": {"uri": file.as_uri()}, "position": {"line": line, "character": character}}
        return self.request(f"textDocument/{method}", place)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _until(self, done: Callable[[], bool], what: str) -> None:
        while not done():
            try:
                message = self._inbox.get(timeout=TIMEOUT)
            except queue.Empty:
                raise AssertionError(f"no {what} within {TIMEOUT} s; {self.errors}") from None
            if message is None:
                raise AssertionError(f"the server ended before {what}: {self.errors}")
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            self._answers[message["id"]] = message
        elif message["method"] == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message["method"] == "workspace/configuration":
            found = [self.settings.get(item.get("section", ""), {}) for item in message["params"]["items"]]
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": found})
        elif "id" in message:
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": None})

    def _read(self) -> None:
        """Put every message into the inbox, and None at the end."""
        stream = self.process.stdout
        assert stream is not None
        while True:
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                break
            self._inbox.put(json.loads(stream.read(length)))
        self._inbox.put(None)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

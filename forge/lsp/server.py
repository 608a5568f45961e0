"""The language server protocol, spoken through pygls: positions are translated, everything else is asked of the other modules.

Questions are answered on the one thread of the loop; diagnostics are found on another, a moment after the last key press.
A question that fails is answered with nothing, and the failure goes to stderr, which editors keep as the server's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace.position_codec import ServerTextPosition, ServerTextRange

from forge import __version__
from forge.base.files import open_second
from forge.lsp.completion import completions_at
from forge.lsp.definition import definition_at
from forge.lsp.desk import Desk
from forge.lsp.diagnostics import diagnostics_of
from forge.lsp.hover import hover_at
from forge.lsp.outline import Span
from forge.lsp.symbols import symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pygls.workspace import TextDocument

    from forge.lsp.completion import Proposal
    from forge.lsp.diagnostics import Problem
    from forge.lsp.symbols import Symbol

__all__ = ["PAUSE", "ConfigServer", "make_server", "serve_editor"]

_Answer = TypeVar("_Answer")

PAUSE: Final = 0.25  # seconds without a key press after which the text is judged
_SEVERITY: Final = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}
_PROPOSED: Final = {
    "group": types.CompletionItemKind.Module,
    "choice": types.CompletionItemKind.File,
    "key": types.CompletionItemKind.Property,
    "target": types.CompletionItemKind.Class,
    "path": types.CompletionItemKind.Reference,
    "value": types.CompletionItemKind.Value,
}
_SYMBOLS: Final = {
    "object": types.SymbolKind.Class,
    "mapping": types.SymbolKind.Namespace,
    "list": types.SymbolKind.Array,
    "key": types.SymbolKind.Property,
}


class ConfigServer(LanguageServer):
    """The server with what it knows of the projects, and the judgements that are on their way."""

    def __init__(self) -> None:
        super().__init__("forge", __version__)
        self.desk = Desk()
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="forge-check")
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def document(self, uri: str) -> TextDocument:
        """An open document."""
        return self.workspace.get_text_document(uri)

    def open_folders(self) -> None:
        """Start anew with the folders that the editor has open."""
        folders = [folder.uri for folder in self.workspace.folders.values()]
        folders = folders or ([self.workspace.root_uri] if self.workspace.root_uri else [])
        self.desk = Desk([path for uri in folders if (path := to_fs_path(uri))])

    def shown(self, uri: str, pause: float = 0.0) -> None:
        """Take in what a document shows now, and judge it and the other open ones after a pause."""
        document = self.document(uri)
        self.desk.show(document.path, document.source)
        for other in [uri, *(one for one in self.workspace.text_documents if one != uri)]:
            before = self._waiting.pop(other, None)
            if before is not None:
                before.cancel()
            self._waiting[other] = asyncio.get_running_loop().create_task(self._judged(other, pause))

    def closed(self, uri: str) -> None:
        """Forget a document; its diagnostics go."""
        task = self._waiting.pop(uri, None)
        if task is not None:
            task.cancel()
        path = to_fs_path(uri)
        if path:
            self.desk.hide(path)
        self._publish(uri, [])

    async def _judged(self, uri: str, pause: float) -> None:
        await asyncio.sleep(pause)
        document = self.document(uri)
        text, version = document.source, document.version
        loop = asyncio.get_running_loop()
        judge = Desk(self.desk.folders)  # of its own, as it works beside the answers to questions
        judge.shown = dict(self.desk.shown)
        problems = await loop.run_in_executor(
            self._judge, _or_nothing, lambda: diagnostics_of(judge, document.path, text)
        )
        if problems is not None and uri in self.workspace.text_documents and self.document(uri).version == version:
            self._publish(uri, [_diagnostic(document, problem) for problem in problems], version)

    def _publish(self, uri: str, found: list[types.Diagnostic], version: int | None = None) -> None:
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, version))

    def shutdown(self) -> None:
        """End the thread that judges, too."""
        self._judge.shutdown(wait=False, cancel_futures=True)
        super().shutdown()  # type: ignore[no-untyped-call]


def _or_nothing(question: Callable[[], _Answer]) -> _Answer | None:
    """The answer, or nothing: no text that is being typed may take the server down."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - the last resort, written to the server's log
        with contextlib.suppress(OSError):
            traceback.print_exc(file=sys.stderr)
        return None


def _place(document: TextDocument, position: types.Position) -> tuple[int, int]:
    found = document.position_from_client_units(position)
    return found.line, found.character


def _range(document: TextDocument, span: Span) -> types.Range:
    line, column, end_line, end_column = span
    return document.range_to_client_units(
        ServerTextRange(ServerTextPosition(line, column), ServerTextPosition(end_line, end_column))
    )


def _diagnostic(document: TextDocument, problem: Problem) -> types.Diagnostic:
    return types.Diagnostic(
        range=_range(document, problem.span),
        message=problem.message,
        severity=_SEVERITY[problem.severity],
        code=problem.code or None,
        source="forge",
    )


def _item(document: TextDocument, position: types.Position, proposal: Proposal) -> types.CompletionItem:
    line, column = _place(document, position)
    typed = _range(document, Span(line, min(proposal.column, column), line, column))
    return types.CompletionItem(
        label=proposal.label,
        kind=_PROPOSED[proposal.kind],
        detail=proposal.detail or None,
        documentation=types.MarkupContent(types.MarkupKind.Markdown, proposal.documentation)
        if proposal.documentation
        else None,
        filter_text=proposal.label,
        text_edit=types.TextEdit(typed, proposal.insert or proposal.label),
    )


def _symbol(document: TextDocument, symbol: Symbol) -> types.DocumentSymbol:
    return types.DocumentSymbol(
        name=symbol.name,
        detail=symbol.detail,
        kind=_SYMBOLS[symbol.kind],
        range=_range(document, symbol.whole),
        selection_range=_range(document, symbol.key),
        children=[_symbol(document, child) for child in symbol.children],
    )


def _location(server: ConfigServer, file: str, line: int, column: int) -> types.Location | None:
    uri = from_fs_path(os.path.abspath(file))
    if uri is None:
        return None
    position = types.Position(line, 0)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        position = server.document(uri).position_to_client_units(ServerTextPosition(line, column))
    return types.Location(uri, types.Range(position, position))


def make_server() -> ConfigServer:
    """A server with its features, not yet speaking to anybody."""
    server = ConfigServer()

    @server.feature(types.INITIALIZED)
    def initialized(ls: ConfigServer, _parameters: types.InitializedParams) -> None:
        ls.open_folders()

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders_changed(ls: ConfigServer, _parameters: types.DidChangeWorkspaceFoldersParams) -> None:
        ls.open_folders()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(ls: ConfigServer, parameters: types.DidOpenTextDocumentParams) -> None:
        ls.shown(parameters.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(ls: ConfigServer, parameters: types.DidChangeTextDocumentParams) -> None:
        ls.shown(parameters.text_document.uri, PAUSE)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def saved(ls: ConfigServer, parameters: types.DidSaveTextDocumentParams) -> None:
        ls.shown(parameters.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: ConfigServer, parameters: types.DidCloseTextDocumentParams) -> None:
        ls.closed(parameters.text_document.uri)

    _add_questions(server)
    return server


def _add_questions(server: ConfigServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def definition(ls: ConfigServer, parameters: types.DefinitionParams) -> types.Location | None:
        document = ls.document(parameters.text_document.uri)
        place = _place(document, parameters.position)
        found = _or_nothing(lambda: definition_at(ls.desk, document.path, document.source, *place))
        return _location(ls, *found) if found is not None else None

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(ls: ConfigServer, parameters: types.HoverParams) -> types.Hover | None:
        document = ls.document(parameters.text_document.uri)
        place = _place(document, parameters.position)
        found = _or_nothing(lambda: hover_at(ls.desk, document.path, document.source, *place))
        if found is None:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, found.text), _range(document, found.span))

    triggers = types.CompletionOptions(trigger_characters=[".", "{", "/", ":", " "])

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)
    def completion(ls: ConfigServer, parameters: types.CompletionParams) -> types.CompletionList:
        document = ls.document(parameters.text_document.uri)
        place = _place(document, parameters.position)
        found = _or_nothing(lambda: completions_at(ls.desk, document.path, document.source, *place)) or []
        items = [_item(document, parameters.position, proposal) for proposal in found]
        return types.CompletionList(is_incomplete=True, items=items)

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def symbols(ls: ConfigServer, parameters: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        document = ls.document(parameters.text_document.uri)
        found: Any = _or_nothing(lambda: symbols_of(document.source)) or ()
        return [_symbol(document, symbol) for symbol in found]


def serve_editor() -> None:
    """Speak the protocol on stdin and stdout until the editor ends it.

    The server closes what it speaks on, so it gets ends of its own; whatever else prints then does so to stderr.
    """
    sys.stdout.flush()
    editor = open_second(sys.stdin, "rb"), open_second(sys.stdout, "wb")
    with contextlib.redirect_stdout(sys.stderr):
        make_server().start_io(*editor)

"""The modules of the standard library whose docstrings are read, by the names that users know."""

from __future__ import annotations

from typing import Final

__all__ = ["MODULES", "SOURCES"]

# A module that some Python version does not have is skipped there.
MODULES: Final = tuple(
    """
    abc argparse ast asyncio base64 bdb bisect bz2 calendar cmd code codecs codeop collections collections.abc
    colorsys compileall concurrent.futures configparser contextlib copy copyreg csv ctypes.util curses.ascii
    curses.textpad dataclasses datetime decimal difflib dis doctest email.charset email.encoders email.feedparser
    email.generator email.header email.headerregistry email.message email.parser email.policy email.utils
    encodings.idna enum filecmp fileinput fnmatch fractions ftplib functools getopt getpass gettext glob graphlib
    gzip hashlib heapq hmac html html.parser http http.client http.cookiejar http.cookies http.server imaplib
    importlib importlib.abc importlib.machinery importlib.resources importlib.util inspect io ipaddress json
    json.decoder json.encoder keyword linecache locale logging logging.config logging.handlers lzma mailbox
    mimetypes modulefinder multiprocessing.connection multiprocessing.context multiprocessing.managers
    multiprocessing.pool multiprocessing.process multiprocessing.queues multiprocessing.shared_memory
    multiprocessing.sharedctypes multiprocessing.synchronize netrc ntpath numbers opcode operator optparse os
    os.path pathlib pdb pickle pickletools pkgutil platform plistlib poplib pprint profile pstats pty py_compile
    pyclbr pydoc queue quopri random re reprlib rlcompleter runpy sched secrets selectors shelve shlex shutil signal
    site smtplib socket socketserver sqlite3.dump ssl stat statistics string stringprep struct subprocess symtable
    sysconfig tabnanny tarfile tempfile textwrap threading timeit tkinter tkinter.colorchooser tkinter.dialog
    tkinter.filedialog tkinter.font tkinter.messagebox tkinter.scrolledtext tkinter.simpledialog tkinter.ttk token
    tokenize trace traceback tracemalloc turtle types typing unittest unittest.mock urllib.error urllib.parse
    urllib.request urllib.response urllib.robotparser uuid venv warnings wave weakref webbrowser wsgiref.handlers
    wsgiref.headers wsgiref.simple_server wsgiref.util wsgiref.validate xml.dom.minidom xml.dom.pulldom
    xml.etree.ElementPath xml.etree.ElementTree xml.sax.handler xml.sax.saxutils xml.sax.xmlreader xmlrpc.client
    xmlrpc.server zipapp zipfile zipimport zoneinfo
    """.split()  # noqa: SIM905 - two hundred names read better as prose than as a list
)

# What users import, and the files that hold its Python text where they have other names.
SOURCES: Final = {
    "asyncio": (
        "asyncio",
        "asyncio.base_events",
        "asyncio.events",
        "asyncio.futures",
        "asyncio.locks",
        "asyncio.protocols",
        "asyncio.queues",
        "asyncio.runners",
        "asyncio.streams",
        "asyncio.subprocess",
        "asyncio.taskgroups",
        "asyncio.tasks",
        "asyncio.threads",
        "asyncio.timeouts",
        "asyncio.transports",
        "asyncio.unix_events",
    ),
    "collections.abc": ("_collections_abc",),
    "concurrent.futures": (
        "concurrent.futures",
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "concurrent.futures._base",
    ),
    "datetime": ("datetime", "_pydatetime"),
    "decimal": ("_pydecimal",),
    "io": ("_pyio",),
    "os.path": ("posixpath", "genericpath"),
    "unittest": (
        "unittest",
        "unittest.async_case",
        "unittest.case",
        "unittest.loader",
        "unittest.main",
        "unittest.result",
        "unittest.runner",
        "unittest.suite",
        "unittest.util",
    ),
}

"""A real sshd and a real ssh that reaches it, both with keys and settings of their own; nothing of the user's is read.

`settings` gives a folder with a program ``ssh``: put in front of PATH, it takes names of hosts to where their servers are. `up` starts one
on loopback, to which any name leads.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
PORT = 22
SERVER = """\
Port {port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv FORGE_*
"""
CLIENT = """\
Port {port}
User {user}
IdentityFile {folder}/user
IdentitiesOnly yes
StrictHostKeyChecking yes
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile none
LogLevel ERROR
SendEnv FORGE_*
"""


def missing() -> str:
    """What a server would need and is not here; empty where nothing is missing."""
    programs = {"sshd": SSHD, "ssh": shutil.which("ssh"), "ssh-keygen": shutil.which("ssh-keygen")}
    gone = [name for name, path in programs.items() if path is None]
    return f"{', '.join(gone)} of openssh not found" if gone else ""


def settings(folder: Path, places: Mapping[str, str], port: int = PORT) -> tuple[list[str], Path]:
    """The command of a server, and the folder of the program that reaches it by these names at these addresses."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "known").write_text(f"* {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(SERVER.format(folder=folder, port=port))
    client = CLIENT.format(folder=folder, port=port, user=getpass.getuser())
    hosts = "".join(f"Host {name}\nHostName {address}\n" for name, address in places.items())
    (folder / "ssh_config").write_text(client + hosts)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    (programs / "ssh").chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server of a system would have made it
    return [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], programs


def up(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a server in a folder; it, and the folder of the program that reaches it."""
    port = _free_port()
    command, programs = settings(folder, {"*": "127.0.0.1"}, port)
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    await_server("127.0.0.1", port)
    return server, programs


def down(server: subprocess.Popen[bytes]) -> None:
    """End a server; connections that are open end by themselves."""
    server.terminate()
    server.wait(timeout=20)


def await_server(address: str, port: int = PORT) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""In place of a cluster of Kubernetes: an API server on loopback that keeps what is applied, and runs in its pods what it is asked to.

It speaks as much of the real protocol as a client needs: objects by their paths, the pods of a job and their logs, and exec over a
websocket. Pods are processes of this machine, which see a folder of it as ``/ckpt``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)(?:/(log|exec))?)?")
ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLAIM = "/ckpt"


class Cluster:
    """What there is in the cluster; ``volume`` is the folder that pods see."""

    def __init__(self, volume: Path) -> None:
        self.volume = volume
        self.objects: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self.grace: list[str] = []  # what the deletions of pods said of it
        self.propagation: list[str] = []
        self.forbidden = ""
        cluster = self

        class Handler(_Handler):
            pass

        Handler.cluster = cluster
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kubeconfig(self, path: Path) -> Path:
        """A file that leads a client here."""
        host, port = self.server.server_address[:2]
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "clusters": [{"name": "here", "cluster": {"server": f"http://{host}:{port}"}}],
                    "users": [{"name": "me", "user": {}}],
                }
            )
        )
        return path

    def start(self, name: str, command: list[str]) -> None:
        """A pod that runs a command, seen from inside."""
        log = self.volume / f"{name}.log"
        with log.open("wb") as file:
            self.pods[name] = (subprocess.Popen(self.inside(command), stdout=file, stderr=file), log)

    def inside(self, command: list[str]) -> list[str]:
        """The command with the paths that this machine has for those of a pod."""
        return [f"{self.volume}{word.removeprefix(CLAIM)}" if word.startswith(CLAIM) else word for word in command]

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as it is described."""
        code = self.pods[name][0].poll()
        ended = None if code is None else {"terminated": {"exitCode": code}}
        state = ended or {"running": {}}
        phase = "Running" if code is None else "Succeeded" if code == 0 else "Failed"
        container = {
            "name": "node",
            "image": "x",
            "imageID": "x",
            "ready": code is None,
            "restartCount": 0,
            "state": state,
        }
        return {"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": [container]}}

    def described(self, found: dict[str, Any]) -> dict[str, Any]:
        """An object with the status that its pods give it."""
        if found["kind"] not in {"Job", "PyTorchJob", "TrainJob"} or not self.pods:
            return found
        codes = [process.poll() for process, _ in self.pods.values()]
        if None in codes:
            return {**found, "status": {"active": codes.count(None)}}
        type_ = "Failed" if any(codes) else "Complete" if found["kind"] == "Job" else "Succeeded"
        return {**found, "status": {"conditions": [{"type": type_, "status": "True"}]}}

    def close(self) -> None:
        """End every pod and the server."""
        for process, _ in self.pods.values():
            process.kill()
            process.wait()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, data: Any, code: int = 200, kind: str = "application/json") -> None:
        body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, code: int, message: str) -> None:
        self._answer(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}, code
        )

    def do_POST(self) -> None:
        """Make an object."""
        made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = f"{urlsplit(self.path).path}/{made['metadata']['name']}"
        if made["kind"] == self.cluster.forbidden:
            self._refuse(403, "no quota")
        elif path in self.cluster.objects:
            self._refuse(409, "it is there already")
        else:
            self.cluster.objects[path] = made
            self._answer(made, 201)

    def do_DELETE(self) -> None:
        """Delete an object, or all pods."""
        where = urlsplit(self.path)
        query = parse_qs(where.query)
        if PODS.fullmatch(where.path):
            self.cluster.grace += query.get("gracePeriodSeconds", [])
            for process, _ in self.cluster.pods.values():
                process.kill()
                process.wait()
            self.cluster.pods.clear()
            self._answer({"kind": "PodList", "apiVersion": "v1", "items": []})
        elif (gone := self.cluster.objects.pop(where.path, None)) is None:
            self._refuse(404, "not found")
        else:
            self.cluster.propagation += query.get("propagationPolicy", [])
            done = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            self._answer(gone if gone["kind"] == "Service" else done)

    def do_GET(self) -> None:
        """Look at objects and pods, or run something in one."""
        where = urlsplit(self.path)
        pod = PODS.fullmatch(where.path)
        if pod is None:
            found = self.cluster.objects.get(where.path)
            self._refuse(404, "not found") if found is None else self._answer(self.cluster.described(found))
        elif pod[3] == "exec":
            self._exec(parse_qs(where.query)["command"])
        elif pod[3] == "log":
            self._log(self.cluster.pods[pod[2]][1].read_text(), parse_qs(where.query))
        else:
            items = [self.cluster.pod(name) for name in self.cluster.pods]
            self._answer({"kind": "PodList", "apiVersion": "v1", "items": items})

    def _log(self, text: str, query: dict[str, list[str]]) -> None:
        lines = text.splitlines(keepends=True)
        kept = lines[-int(query["tailLines"][0]) :] if "tailLines" in query else lines
        self._answer("".join(kept), kind="text/plain")

    def _exec(self, command: list[str]) -> None:
        """What it prints on channels 1 and 2, how it ended on channel 3, each in a frame of its own."""
        key = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + ACCEPT).digest())  # noqa: S324 - as the protocol has it
        self.send_response(101)
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", key.decode()),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ):
            self.send_header(name, value)
        self.end_headers()
        done = subprocess.run(self.cluster.inside(command), capture_output=True, check=False, timeout=120)
        causes = {"causes": [{"reason": "ExitCode", "message": str(done.returncode)}]}
        failed = {"status": "Failure", "reason": "NonZeroExitCode", "details": causes}
        status = {"status": "Success"} if done.returncode == 0 else failed
        for channel, data in ((1, done.stdout), (2, done.stderr), (3, json.dumps(status).encode())):
            if data:
                self._frame(2, bytes([channel]) + data)
        self._frame(8, struct.pack(">H", 1000))
        self.close_connection = True

    def _frame(self, kind: int, data: bytes) -> None:
        length = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.wfile.write(bytes([0x80 | kind]) + length + data)
        self.wfile.flush()

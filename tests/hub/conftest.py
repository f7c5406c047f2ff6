"""A Hub on this machine for the tests of `push`: a real server, and a proxy that cuts the wire.

The server is the file that `EMO_LLAMA_HUB_SERVER` names; without it these tests are skipped.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, close_session, constants

from emo_llama.hub import connection, remote
from emo_llama.testing import tiny_model, tiny_processor

SERVER = "EMO_LLAMA_HUB_SERVER"
TOKEN, READER, OTHER = "hf_tester", "hf_reader", "hf_other"
HOP = ("connection", "transfer-encoding", "content-length")
Rule = Callable[["Passing"], bool]


class Passing(BaseHTTPRequestHandler):
    """Passes a request on to the server, unless a rule of the test has it otherwise."""

    protocol_version = "HTTP/1.1"
    server: "Proxy"

    def pass_on(self) -> None:
        """Answer one request; a rule that returns True has done so itself."""
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.log.append((self.command, self.path))
        if any(rule(self) for rule in list(self.server.rules)):
            return
        status, headers, content = self.forward(self.path)
        self.answer(status, headers, content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 - names of http.server

    def forward(self, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the server answers."""
        wire = HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
        wire.request(self.command, path, self.body or None, headers)
        response = wire.getresponse()
        content = response.read()
        wire.close()
        return response.status, response.getheaders(), content

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Send an answer to the client."""
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in HOP:
                self.send_header(key, value)
        length = dict((key.lower(), value) for key, value in headers).get("content-length", "0")
        self.send_header("content-length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def cut(self) -> bool:
        """Close the connection without a word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Proxy(ThreadingHTTPServer):
    """Between client and server; `rules` are asked before a request is passed on."""

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind, self.rules, self.log = behind, [], []
        self.rules: list[Rule]
        self.log: list[tuple[str, str]]
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def once(self, method: str, part: str, act: Rule) -> None:
        """Let `act` deal with the next request of a method whose address has a part."""

        def rule(passing: Passing) -> bool:
            if passing.command != method or part not in passing.path or rule not in self.rules:
                return False
            self.rules.remove(rule)
            return act(passing)

        self.rules.append(rule)

    def count(self, method: str, part: str) -> int:
        """How often such a request came."""
        return sum(command == method and part in path for command, path in self.log)


class Hub:
    """The server behind the proxy, with what the tests look at."""

    def __init__(self, root: Path, port: int, proxy: Proxy) -> None:
        self.root, self.proxy = root, proxy
        self.direct, self.url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{proxy.server_port}"
        self.api = HfApi(self.direct, token=TOKEN)

    def faults(self, **faults: Any) -> None:
        """Set the faults of the server."""
        body = json.dumps(faults).encode()
        head = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{self.direct}/_local/faults", body, head))

    def files(self, repo: str, kind: str = "models", branch: str = "main") -> dict[str, bytes]:
        """What the last commit of a branch holds, as it lies on the server's disk."""
        folder = self.root / kind / repo
        meta = json.loads((folder / "repo.json").read_text())
        number = meta["commits"].index(meta["branches"][branch])
        files = folder / "snapshots" / f"{number:06d}"
        found = {path.relative_to(files).as_posix(): path for path in files.rglob("*")}
        found.pop(".gitattributes", None)
        return {name: path.read_bytes() for name, path in found.items() if path.is_file()}

    def commits(self, repo: str, kind: str = "models") -> int:
        """How many commits there are, the first (empty) one apart."""
        return len(json.loads((self.root / kind / repo / "repo.json").read_text())["commits"]) - 1


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The server's folder and port."""
    path = os.environ.get(SERVER)
    if not path:
        pytest.skip(f"{SERVER} names no hub_server.py to test against")
    root = tmp_path_factory.mktemp("hub")
    users = ("--token", f"tester:{TOKEN}:team", "--token", f"other:{OTHER}")
    command = [sys.executable, path, "--port", "0", "--root", str(root), "--print-port", *users]
    command += ["--read-token", f"tester:{READER}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield root, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def hub(server: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the client of this process talks to, logged in, with nothing wrong yet."""
    proxy = Proxy(server[1])
    hub = Hub(*server, proxy)
    hub.faults(fail_every=0, slow_ms=0, fail_next=[])
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for module in (connection, remote):
        monkeypatch.setattr(module, "WAITS", (0.01,) * 4)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    close_session()
    yield hub
    close_session()
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand numbers, as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def repo(request: pytest.FixtureRequest) -> str:
    """The name of a repository that no other test has."""
    return "tester/" + re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")

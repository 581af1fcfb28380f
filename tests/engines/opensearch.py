"""Starts the real OpenSearch: its distribution for integration tests, with the k-NN plugin.

Fetched once from Maven Central into SIDECAR_ENGINES, a folder outside the repository.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engines.java import MissingError, fetch, find_java, has_module

VERSION = "3.6.0"
DISTRIBUTION = f"org.opensearch.distribution.integ-test-zip:opensearch:{VERSION}"
# In the order in which one needs the other.
PLUGINS = (
    f"org.opensearch.plugin:opensearch-job-scheduler:{VERSION}.0",
    f"org.opensearch.plugin:opensearch-knn:{VERSION}.0",
)
HEAP = "512m"
START_SECONDS = 240.0
STOP_SECONDS = 60.0
# Makes the search for vectors faster, and nothing else.
_VECTOR_MODULE = "jdk.incubator.vector"
# OpenSearch does not run as root, and no other user may read the folders of root's tests.
NOBODY = 65534


def engines_folder() -> Path:
    """Where distributions are kept."""
    given = os.environ.get("SIDECAR_ENGINES")
    if given:
        return Path(given)
    root = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    return root / "search-sidecar-engines"


def install() -> Path:
    """The folder of the distribution, made at the first call. Raises MissingError."""
    java, kept = find_java(), engines_folder()
    home = kept / f"opensearch-{VERSION}"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            unfinished = kept / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.unpack_archive(fetch(DISTRIBUTION, kept), unfinished)
            made = unfinished / f"opensearch-{VERSION}"
            for path in (made / "bin").iterdir():
                path.chmod(0o755)
            for artifact in PLUGINS:
                _install_plugin(made, fetch(artifact, kept), java)
            made.rename(home)
    return home


def _install_plugin(home: Path, plugin: Path, java: Path) -> None:
    command = [str(home / "bin" / "opensearch-plugin"), "install", "--batch", plugin.as_uri()]
    result = subprocess.run(
        command,
        env={**os.environ, "OPENSEARCH_JAVA_HOME": str(java)},
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise MissingError(f"{plugin} cannot be installed: {result.stdout}{result.stderr}")


class Node:
    """One OpenSearch, in a folder of its own, which outlives its process."""

    def __init__(self, folder: Path, name: str, others: Sequence[Node] = ()) -> None:
        self._home, self._java = install(), find_java()
        self.folder = folder / name  # of its data, logs and configuration
        self.name = name
        self.port, self.transport_port = _free_port(), _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        _configure(self, self._home, self._java, self.folder, others)

    @property
    def url(self) -> str:
        """Of its HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; see `wait`."""
        # setpriv ends it when the tests are killed, and makes it another user than root.
        command = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        if os.geteuid() == 0:
            command += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command.append(str(self._home / "bin" / "opensearch"))
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=self._environment(), stdout=output, stderr=output, cwd=self.folder
            )

    def wait(self, status: str = "yellow", nodes: int = 1) -> None:
        """Returns once its cluster has a status ("yellow", "green") and so many nodes."""
        path = f"/_cluster/health?wait_for_status={status}&wait_for_nodes=>={nodes}&timeout=5s"
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, urllib.error.HTTPError):
                if not self.call("GET", path)["timed_out"]:
                    return
            assert self.process is not None
            assert self.process.poll() is None, f"OpenSearch ended:\n{self.log()}"
            assert time.monotonic() < end, f"OpenSearch does not answer:\n{self.log()}"
            time.sleep(0.2)  # between two looks at a port that may not be open yet

    def kill(self) -> None:
        """SIGKILL: what is not on its disk is lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it in good order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stops its threads: it takes connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets them go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def call(self, method: str, path: str, body: Any = None, seconds: float = 60.0) -> Any:
        """One request to it, past all code that is tested."""
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return json.loads(response.read() or b"null")

    def log(self) -> str:
        """The end of what it wrote."""
        return (self.folder / "output").read_text(errors="replace")[-8000:]

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "OPENSEARCH_JAVA_HOME": str(self._java),
            "OPENSEARCH_PATH_CONF": str(self.folder / "config"),
            "OPENSEARCH_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}",
            "OPENSEARCH_TMPDIR": str(self.folder / "tmp"),
        }


def _configure(node: Node, home: Path, java: Path, folder: Path, others: Sequence[Node]) -> None:
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(home / "config", folder / "config")
    options = folder / "config" / "jvm.options"
    # Its own logs would go into the folder of the distribution.
    left_out = ["logs/"] + ([] if has_module(java, _VECTOR_MODULE) else [_VECTOR_MODULE])
    kept = options.read_text().splitlines()
    kept = [line for line in kept if not any(each in line for each in left_out)]
    options.write_text("\n".join(kept) + "\n")
    lines = [
        "cluster.name: sidecar-tests",
        f"node.name: {node.name}",
        "network.host: 127.0.0.1",
        f"http.port: {node.port}",
        f"transport.port: {node.transport_port}",
        f"path.data: {folder / 'data'}",
        f"path.logs: {folder / 'logs'}",
        # The disks of test machines are rather full.
        "cluster.routing.allocation.disk.threshold_enabled: false",
    ]
    if others:
        seeds = ", ".join(f'"127.0.0.1:{each.transport_port}"' for each in others)
        names = ", ".join(each.name for each in others)
        lines += [
            f"discovery.seed_hosts: [{seeds}]",
            f"cluster.initial_cluster_manager_nodes: [{names}]",
        ]
    else:
        lines.append("discovery.type: single-node")
    (folder / "config" / "opensearch.yml").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """A temporary folder that the user of an engine may enter."""
    with tempfile.TemporaryDirectory(prefix="sidecar-engine-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def running() -> Iterator[Node]:
    """A cluster of one node. Raises MissingError."""
    with readable_folder() as folder:
        node = Node(folder, "one")
        try:
            node.start()
            node.wait()
            yield node
        finally:
            node.kill()

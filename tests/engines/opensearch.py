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
HEAP_OF_SEVERAL = "320m"
# The quick compiler alone: tests end before the thorough one has paid for itself.
QUICK_START = "-XX:TieredStopAtLevel=1"
START_SECONDS = 400.0
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

    def __init__(self, folder: Path, name: str, heap: str = HEAP) -> None:
        self._home, self._java = install(), find_java()
        self.folder = folder / name  # of its data, logs and configuration
        self.name = name
        self._heap = heap
        self.port, self.transport_port = _free_port(), _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        _prepare(self.folder, self._home, self._java)

    def configure(self, cluster: Sequence[Node]) -> None:
        """Of which nodes its cluster is made, itself among them."""
        lines = [
            f"cluster.name: sidecar-tests-{cluster[0].transport_port}",
            f"node.name: {self.name}",
            "network.host: 127.0.0.1",
            f"http.port: {self.port}",
            f"transport.port: {self.transport_port}",
            f"path.data: {self.folder / 'data'}",
            f"path.logs: {self.folder / 'logs'}",
            # The disks of test machines are rather full.
            "cluster.routing.allocation.disk.threshold_enabled: false",
        ]
        if len(cluster) == 1:
            lines.append("discovery.type: single-node")
        else:
            seeds = ", ".join(f'"127.0.0.1:{each.transport_port}"' for each in cluster)
            lines.append(f"discovery.seed_hosts: [{seeds}]")
            # The first one begins alone, and the others join.
            lines.append(f"cluster.initial_cluster_manager_nodes: [{cluster[0].name}]")
        path = self.folder / "config" / "opensearch.yml"
        path.write_text("\n".join(lines) + "\n")
        _give_away(path)

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
            "OPENSEARCH_JAVA_OPTS": f"-Xms{self._heap} -Xmx{self._heap} {QUICK_START}",
            "OPENSEARCH_TMPDIR": str(self.folder / "tmp"),
        }


def _prepare(folder: Path, home: Path, java: Path) -> None:
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(home / "config", folder / "config")
    options = folder / "config" / "jvm.options"
    # Its own logs would go into the folder of the distribution.
    left_out = ["logs/"] + ([] if has_module(java, _VECTOR_MODULE) else [_VECTOR_MODULE])
    kept = options.read_text().splitlines()
    kept = [line for line in kept if not any(each in line for each in left_out)]
    options.write_text("\n".join(kept) + "\n")
    for path in (folder, *folder.rglob("*")):
        _give_away(path)


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
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
def running(nodes: int = 1) -> Iterator[list[Node]]:
    """A cluster of so many nodes. Raises MissingError."""
    with readable_folder() as folder:
        heap = HEAP if nodes == 1 else HEAP_OF_SEVERAL
        cluster = [Node(folder, f"n{number}", heap) for number in range(nodes)]
        try:
            for node in cluster:
                node.configure(cluster)
                node.start()
                cluster[0].wait()
            cluster[0].wait(nodes=nodes)
            yield cluster
        finally:
            for node in cluster:
                node.kill()

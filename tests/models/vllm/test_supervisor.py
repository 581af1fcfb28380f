"""Servers of the sidecar's own, with a small program in vLLM's place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.errors import ModelError
from sidecar.models.vllm.launch import Launch
from sidecar.models.vllm.supervisor import SupervisedServer

# Says its process id and that of a worker on /health; STUBBORN ignores SIGTERM.
PROGRAM = """
import http.server, os, signal, subprocess, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{os.getpid()} {worker.pid}".encode())
http.server.HTTPServer.allow_reuse_address = True
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def make_launch(*words: str) -> Launch:
    port = free_port()
    command = (sys.executable, "-c", PROGRAM, str(port), *words)
    return Launch("first_reranker", "m", f"http://127.0.0.1:{port}", command, dict(os.environ))


def process_ids(launch: Launch) -> list[int]:
    with urllib.request.urlopen(f"{launch.url}/health", timeout=5) as answer:
        return [int(number) for number in answer.read().split()]


def wait_until_gone(pids: list[int]) -> None:
    """A zombie is gone: what is left of it is for its parent to read."""
    end = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, f"{pids} still run"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def started() -> Iterator[list[SupervisedServer]]:
    servers: list[SupervisedServer] = []
    yield servers
    for server in servers:
        server.stop()


def start(launch: Launch, started: list[SupervisedServer], stop: float = 5.0) -> SupervisedServer:
    server = SupervisedServer(launch, stop)
    started.append(server)
    server.start(30.0)
    return server


def test_it_answers_once_it_is_started_and_is_gone_once_stopped(
    started: list[SupervisedServer],
) -> None:
    launch = make_launch()
    server = start(launch, started)
    pids = process_ids(launch)
    server.stop()
    wait_until_gone(pids)


def test_one_that_does_not_end_is_killed_with_its_workers(started: list[SupervisedServer]) -> None:
    launch = make_launch("stubborn")
    server = start(launch, started, stop=0.2)
    pids = process_ids(launch)
    before = time.monotonic()
    server.stop()
    assert time.monotonic() - before < 9.0
    wait_until_gone(pids)


def test_one_that_dies_is_started_again_and_its_workers_are_not_left(
    started: list[SupervisedServer],
) -> None:
    launch = make_launch()
    start(launch, started)
    first = process_ids(launch)
    os.kill(first[0], signal.SIGKILL)
    wait_until_gone(first)
    assert set(process_ids_of_next(launch)).isdisjoint(first)


def process_ids_of_next(launch: Launch) -> list[int]:
    end = time.monotonic() + 20
    while True:
        try:
            return process_ids(launch)
        except OSError:
            assert time.monotonic() < end, "it was not started again"
            time.sleep(0.05)


def test_a_killed_guard_leaves_nothing_behind(started: list[SupervisedServer]) -> None:
    launch = make_launch()
    server = start(launch, started)
    first = process_ids(launch)
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGKILL)
    wait_until_gone(first)
    process_ids_of_next(launch)


def test_one_that_ends_at_once_is_an_error_with_its_last_lines(
    started: list[SupervisedServer],
) -> None:
    code = "print('ValueError: no room')\nfor n in range(99): print(n)\nexit('no such flag')"
    command = (sys.executable, "-c", code)
    launch = Launch("first_reranker", "m", "http://127.0.0.1:1", command, dict(os.environ))
    with pytest.raises(ModelError, match=r"vLLM for m ended") as error:
        start(launch, started)
    assert "\nValueError: no room\n" in error.value.message
    assert "no such flag" in error.value.message
    assert len(error.value.message.splitlines()) < 20


def test_a_python_that_is_not_there_is_an_error(started: list[SupervisedServer]) -> None:
    launch = Launch("first_reranker", "m", "http://127.0.0.1:1", ("/no/python",), {})
    with pytest.raises(ModelError, match="/no/python cannot be run: No such file"):
        start(launch, started)


def test_one_that_is_never_healthy_is_an_error(started: list[SupervisedServer]) -> None:
    command = (sys.executable, "-c", "import signal; signal.pause()")
    launch = Launch("first_reranker", "m", "http://127.0.0.1:1", command, dict(os.environ))
    server = SupervisedServer(launch, 5.0)
    started.append(server)
    with pytest.raises(ModelError, match=r"is not up after 0\.1 s"):
        server.start(0.1)


def test_an_interpreter_without_vllm_is_named_with_the_way_out(
    started: list[SupervisedServer],
) -> None:
    command = (sys.executable, "-m", "vllm_that_is_not_there.entrypoints")
    code = "raise ModuleNotFoundError(\"No module named 'vllm'\")"
    for absent in ((sys.executable, "-c", code), command):
        launch = Launch("first_reranker", "m", "http://127.0.0.1:1", absent, dict(os.environ))
        server = SupervisedServer(launch, 5.0)
        started.append(server)
        with pytest.raises(ModelError) as error:
            server.start(30.0)
        is_absent = absent != command
        assert ("has no vLLM: run `make install-gpu`" in error.value.message) == is_absent
        assert ("first errors" in error.value.message) != is_absent


def test_nothing_outlives_a_sidecar_that_is_killed() -> None:
    launch = make_launch("stubborn")
    code = (
        "import signal, sys; from sidecar.models.vllm.launch import Launch\n"
        "from sidecar.models.vllm.supervisor import SupervisedServer\n"
        f"launch = Launch(*{(launch.section, launch.model, launch.url, launch.command)!r}, {{}})\n"
        "SupervisedServer(launch, 0.2).start(30.0)\n"
        "print('up', flush=True); signal.pause()"
    )
    sidecar = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with sidecar:
        assert sidecar.stdout is not None
        assert sidecar.stdout.readline() == b"up\n"
        pids = process_ids(launch)
        sidecar.kill()
    wait_until_gone(pids)


def test_no_thread_is_left_when_it_is_stopped(started: list[SupervisedServer]) -> None:
    before = set(threading.enumerate())
    start(make_launch(), started).stop()
    assert set(threading.enumerate()) == before

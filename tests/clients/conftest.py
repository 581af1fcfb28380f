"""One real sidecar process for the Go and Java callers, and what it takes to run their suites."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 600  # the first start measures the machine's runtimes
STOP_SECONDS = 60
SUITE_SECONDS = 1200  # the first run downloads the suite's dependencies
CLOSING_LINES = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Sidecar:
    """A running `sidecar serve`."""

    address: str
    log: Path


@pytest.fixture(scope="session")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar with the default configuration; at the end it must drain."""
    folder = tmp_path_factory.mktemp("sidecar")
    log = folder / "log"
    command = [sys.executable, "-m", "sidecar", "serve"]
    command += ["--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=_default_environment()
        ) as process,
    ):
        try:
            yield Sidecar(_read_address(process, log), log)
        finally:
            process.terminate()
            code = _wait_or_kill(process)
    assert code == 0, f"sidecar serve ended with {code} after SIGTERM:\n{log.read_text()}"


@pytest.fixture
def run() -> Callable[..., str]:
    """Runs a command in a folder and returns its output; fails with that output if it fails."""

    def run_in(folder: Path, command: list[str], log: Path | None = None, **variables: str) -> str:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SUITE_SECONDS,
        )
        if result.returncode != 0:
            server = f"\nthe sidecar's log:\n{log.read_text()}" if log else ""
            pytest.fail(f"{shlex.join(command)}\n{result.stdout}{server}", pytrace=False)
        return result.stdout

    return run_in


@pytest.fixture
def call_sidecar(run: Callable[..., str], request: pytest.FixtureRequest) -> Callable[..., str]:
    """As `run`, with the address of a sidecar that is started for the first such command."""

    def call(folder: Path, command: list[str]) -> str:
        sidecar: Sidecar = request.getfixturevalue("sidecar")
        return run(folder, command, log=sidecar.log, SIDECAR_ADDRESS=sidecar.address)

    return call


@pytest.fixture(scope="session")
def without() -> Callable[[list[str]], None]:
    """Skips a test for what it lacks, each with the way to install it, or fails it under
    SIDECAR_REQUIRE_CLIENTS=1."""

    def give_up(missing: list[str]) -> None:
        if missing and os.environ.get("SIDECAR_REQUIRE_CLIENTS") == "1":
            pytest.fail("; ".join(missing), pytrace=False)
        if missing:
            pytest.skip("; ".join(missing))

    return give_up


@pytest.fixture
def say_last(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line after pytest's own summary, for the closing line of a suite."""
    return request.config.stash.setdefault(CLOSING_LINES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in config.stash.get(CLOSING_LINES, []):
        terminalreporter.write_line(line)


def _default_environment() -> dict[str, str]:
    return {key: text for key, text in os.environ.items() if not key.startswith("SIDECAR_")}


def _read_address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    match = re.fullmatch(r"sidecar serving on (\S+:\d+)\n", line)
    if match is None:
        pytest.fail(f"the first line is {line!r}; the log:\n{log.read_text()}", pytrace=False)
    return match[1]


def _wait_or_kill(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

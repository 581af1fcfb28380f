"""The Go caller: its stubs are generated, its code is vetted, its tests call a real sidecar."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "go"
# From 1.21 on, go fetches by itself the version that go.mod asks for.
OLDEST_GO = (1, 21)
WAY = "install Go 1.24 or later (https://go.dev/doc/install)"


@pytest.fixture(autouse=True)
def _toolchain(without: Callable[[list[str]], None]) -> None:
    if not shutil.which("go"):
        without([f"no go: {WAY}"])
    version = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\bgo(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < OLDEST_GO:
        without([f"{version.strip()} is too old: {WAY}"])


@pytest.fixture
def protoc(tmp_path: Path) -> str:
    """The compiler that comes with grpcio-tools, as one command."""
    assert importlib.util.find_spec("grpc_tools"), "no grpcio-tools: pip install '.[dev]'"
    path = tmp_path / "protoc"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m grpc_tools.protoc "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_go_callers(
    run: Callable[..., str],
    call_sidecar: Callable[..., str],
    protoc: str,
    say_last: Callable[[str], None],
) -> None:
    run(FOLDER, ["go", "generate", "./..."], PROTOC=protoc)
    run(FOLDER, ["go", "vet", "./..."])
    output = call_sidecar(FOLDER, ["go", "test", "-count=1", "-v", "."])

    passed = len(re.findall(r"^--- PASS", output, re.MULTILINE))
    assert passed == _declared_tests(), output
    say_last(f"go: {passed} tests, {output.splitlines()[-1].expandtabs(2)}")


def _declared_tests() -> int:
    sources = (path.read_text() for path in FOLDER.glob("*_test.go"))
    return sum(len(re.findall(r"^func Test\w+\(t ", text, re.MULTILINE)) for text in sources)

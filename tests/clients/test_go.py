"""The Go caller: its stubs are generated, its code is vetted, its tests call a real sidecar."""

from __future__ import annotations

import importlib.util
import re
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
def protoc() -> str:
    """The compiler that comes with grpcio-tools, as `generate.sh` takes it."""
    assert importlib.util.find_spec("grpc_tools"), "no grpcio-tools: pip install '.[dev]'"
    return f"{sys.executable} -m grpc_tools.protoc"


def test_go_callers(
    run: Callable[..., str],
    protoc: str,
    request: pytest.FixtureRequest,
    say_last: Callable[[str], None],
) -> None:
    run(FOLDER, ["go", "generate", "./..."], PROTOC=protoc)
    run(FOLDER, ["go", "vet", "./..."])
    # Only now: code that does not compile needs no sidecar.
    address = request.getfixturevalue("sidecar_address")
    output = run(FOLDER, ["go", "test", "-count=1", "-v", "."], SIDECAR_ADDRESS=address)

    passed = len(re.findall(r"^--- PASS", output, re.MULTILINE))
    assert passed == _declared_tests(), output
    say_last(f"go: {passed} tests, {output.splitlines()[-1].expandtabs(2)}")


def _declared_tests() -> int:
    sources = (path.read_text() for path in FOLDER.glob("*_test.go"))
    return sum(len(re.findall(r"^func Test\w+\(t ", text, re.MULTILINE)) for text in sources)

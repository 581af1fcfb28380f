"""The Java caller: Maven generates its stubs, compiles it and runs its tests against a real
sidecar."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "java"
TOOLS = {
    "javac": "install a JDK, 17 or later (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless)",
    "mvn": "install Maven, 3.8 or later (Debian, Ubuntu: apt-get install maven)",
}


@pytest.fixture(autouse=True)
def _toolchain(without: Callable[[list[str]], None]) -> None:
    without([f"no {tool}: {way}" for tool, way in TOOLS.items() if not shutil.which(tool)])


def test_java_callers(
    run: Callable[..., str],
    call_sidecar: Callable[..., str],
    say_last: Callable[[str], None],
) -> None:
    maven = ["mvn", "--batch-mode", "--no-transfer-progress"]
    run(FOLDER, [*maven, "test-compile"])
    output = call_sidecar(FOLDER, [*maven, "surefire:test"])

    closing = re.findall(r"Tests run: (\d+), Failures: 0, Errors: 0, Skipped: 0$", output, re.M)
    assert closing, output
    assert int(closing[-1]) >= _declared_tests(), output
    say_last(f"java: Tests run: {closing[-1]}, Failures: 0, Errors: 0, Skipped: 0")


def _declared_tests() -> int:
    sources = (path.read_text() for path in FOLDER.glob("src/test/**/*Test.java"))
    return sum(len(re.findall(r"@(?:Parameterized)?Test\b", text)) for text in sources)

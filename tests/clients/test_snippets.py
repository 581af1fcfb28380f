"""The Go and Java that the README shows is cut from the clients that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent
README = CLIENTS.parents[1] / "README.md"


@pytest.mark.parametrize(
    ("language", "sources"), [("go", "go/*.go"), ("java", "java/src/main/**/*.java")]
)
def test_readme_shows_what_is_tested(language: str, sources: str) -> None:
    shown = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    tested = [_lines(path.read_text()) for path in CLIENTS.glob(sources)]
    assert shown
    for block in shown:
        assert any(_lines(block) in source for source in tested), f"not in {sources}:\n{block}"


def _lines(code: str) -> str:
    """The code without its indentation, so that a method can be shown at the margin."""
    return "\n".join(line.strip() for line in code.strip().splitlines()) + "\n"

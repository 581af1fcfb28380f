"""Rows of a stage that may be cut short: one JSON value a line, in the order they are made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Rows:
    """What an earlier try has written is kept, but for a last line that was torn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = _without_torn_line(path) if path.exists() else 0

    def append(self, rows: Iterable[Any]) -> None:
        """Writes them; on disk, as far as this process is concerned, once it returns."""
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        with self._path.open("a", encoding="utf-8") as out:
            out.writelines(lines)
        self.count += len(lines)

    def __iter__(self) -> Iterator[Any]:
        """One after another, so that only one is in memory."""
        if self.count:
            with self._path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def _without_torn_line(path: Path) -> int:
    """The number of whole lines; what follows the last of them is cut off."""
    count = whole = 0
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                count, whole = count + 1, whole + len(line)
    with path.open("r+b") as file:
        file.truncate(whole)
    return count

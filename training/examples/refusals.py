"""What is refused while files are read, with file, line and reason: one line each in a file.

    {"file": "clicks.jsonl", "line": 7, "reason": "..."}

Reasons never repeat a query in which personal data was found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class Refusals:
    """Writes refusals to `path` (None: nowhere) as they come, and counts them. Use it as a context
    manager."""

    def __init__(self, path: Path | None = None) -> None:
        self._out = path.open("w", encoding="utf-8") if path else None
        self.rows: Counter[str] = Counter()  # by file
        self.first: dict[str, str] = {}  # by file: the first line and reason

    def refuse(self, file: Path, line: int, reason: str) -> None:
        """Of one row."""
        name = str(file)
        self.rows[name] += 1
        self.first.setdefault(name, f"line {line}: {reason}")
        if self._out:
            row = {"file": name, "line": line, "reason": reason}
            self._out.write(json.dumps(row, ensure_ascii=False) + "\n")

    def told_of(self, file: Path) -> str:
        """What is to be said of a file in which something is not found, "" if all was read."""
        name = str(file)
        if not self.rows[name]:
            return ""
        return f" ({self.rows[name]} rows of it are refused, the first {self.first[name]})"

    def refusing(self, file: Path) -> Callable[[int, str], None]:
        """`refuse` for one file."""
        return lambda line, reason: self.refuse(file, line, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._out:
            self._out.close()

"""What every labelled format gives: examples, and the rows that are none, with line and reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Row = Mapping[str, Any]
Refuse = Callable[[int, str], None]  # line (or row, from 1), and why


@dataclass(frozen=True, slots=True)
class Passage:
    """A document as a file has it: by its id in a corpus (`text` and `title` are empty), by its
    words, or by both."""

    doc_id: str = ""
    title: str = ""
    text: str = ""

    @property
    def is_inline(self) -> bool:
        """Whether the words are there."""
        return bool(self.title or self.text)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled pair. `label` is as the file has it; what it is worth is a matter of the file's
    scale (`scales.py`). `line` is its row's."""

    line: int
    query: str
    passage: Passage
    label: float | str
    synthetic: bool = False


class RecordFormat(Protocol):
    """A format of which each row says all about its labels."""

    @property
    def name(self) -> str:
        """As "NAME=FILE" names it."""

    @property
    def about(self) -> str:
        """Its fields, for people."""

    def recognises(self, row: Row) -> bool:
        """Whether the row has the format's fields, right or wrong ones."""

    def read(self, row: Row) -> Iterator[tuple[Passage, float | str]]:
        """The row's labelled passages. Raises ValueError that says which field is wrong."""

"""Colour and width of the terminal that the command line writes to."""

from __future__ import annotations

import os
import shutil
import unicodedata
from dataclasses import dataclass
from typing import TextIO

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """How to write to one stream: `colour` only for a terminal and without NO_COLOR."""

    colour: bool
    columns: int

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """The terminal behind `stream`; 80 columns without colour where there is none."""
        if not stream.isatty():
            return cls(colour=False, columns=80)
        # https://no-color.org: any value but the empty one.
        colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(colour, min(shutil.get_terminal_size().columns, 120))

    def paint(self, text: str, *styles: str) -> str:
        """`text` in these styles, or as it is."""
        if not self.colour or not text:
            return text
        return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"


def fit(text: str, columns: int) -> str:
    """One line of exactly `columns` columns: white space squeezed, cut with an ellipsis, padded."""
    squeezed = " ".join(text.split())
    if text_columns(squeezed) > columns:
        while squeezed and text_columns(squeezed) > columns - 1:
            squeezed = squeezed[:-1]
        squeezed += "…"
    return squeezed + " " * (columns - text_columns(squeezed))


def text_columns(text: str) -> int:
    """Columns that `text` takes: two for a wide character, as Chinese ones are."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

"""Where labelled examples are: PATH, FOLDER:SPLIT, and NAME=PATH where the format is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """`name` of the format, "" where the content is to tell it; `split` of a BEIR folder."""

    path: Path
    name: str = ""
    split: str = ""


def place_of(given: str) -> Place:
    """Of an entry of collect.judgments. What exists under its whole name is a path."""
    if Path(given).exists():
        return Place(Path(given))
    name, equals, rest = given.partition("=")
    if equals and name.isidentifier():
        inner = place_of(rest)
        return Place(inner.path, name, inner.split)
    folder, colon, split = given.rpartition(":")
    if colon and Path(folder).is_dir():
        return Place(Path(folder), split=split)
    return Place(Path(given))

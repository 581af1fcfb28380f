"""What the configuration names outside of a run: PATH, FOLDER:SPLIT, and NAME=PATH where the format
is named."""

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
    """Of an entry of collect.judgments, or of evaluate.judged. What exists under its whole name is
    a path."""
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


def there(name: str) -> tuple[Path, ...]:
    """A file or folder, if that is what the name of a model or of a file stands for: its content
    may change under its name. A registry's versions do not change, and which of them is production
    is looked up once negatives are mined anew."""
    return (Path(name),) if name and Path(name).exists() else ()

"""Rows of a file, with their lines: JSON lines, a JSON array, CSV or TSV with a header, Parquet.

A row that cannot be read is told with its line and why, and the rest is read on. Lines count from
1; those of Parquet, which has none, are rows.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from training.examples.base import Refuse

Rows = Iterator[tuple[int, dict[str, Any]]]
_PARQUET_ROWS = 4096  # that are Python objects at a time
NO_OBJECT = "no object with fields"


def read_rows(path: Path, refuse: Refuse) -> Rows:
    """Raises InputFileError for a file that cannot be read at all, or whose kind is not known."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(READERS)
        raise InputFileError(str(path), None, f"is none of {kinds}, and no folder that is known")
    try:
        yield from reader(path, refuse)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise InputFileError(str(path), None, message) from error
    except UnicodeDecodeError as error:
        raise InputFileError(str(path), None, f"is not UTF-8 at byte {error.start}") from error


def _json_lines(path: Path, refuse: Refuse) -> Rows:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                refuse(number, f"not UTF-8 at byte {error.start}")
            except ValueError as error:
                refuse(number, f"not valid JSON: {_told(error)}")
            else:
                yield from _checked(number, row, refuse)


def _told(error: ValueError) -> str:
    """Of one line, whose number in the file is told beside it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return str(error)


def _json_array(path: Path, refuse: Refuse) -> Rows:
    """The elements, with the lines on which they begin; read on up to the first that is broken."""
    text = path.read_text(encoding="utf-8-sig")
    decoder, place, line, counted = json.JSONDecoder(), _after_space(text, 0), 1, 0
    if text[place : place + 1] != "[":
        raise InputFileError(
            str(path), None, "is no JSON array: for an object a line, name it .jsonl"
        )
    place = _after_space(text, place + 1)
    while text[place : place + 1] not in ("]", ""):
        line, counted = line + text.count("\n", counted, place), place
        try:
            row, place = decoder.raw_decode(text, place)
        except ValueError as error:
            refuse(line, f"not valid JSON, nor is what follows read: {error}")
            return
        yield from _checked(line, row, refuse)
        place = _after_space(text, place)
        if text[place : place + 1] == ",":
            place = _after_space(text, place + 1)
    if text[place : place + 1] != "]":
        last = line + text.count("\n", counted)
        refuse(last, "the array has no end: was the file cut off?")


def _after_space(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def _table(delimiter: str) -> Callable[[Path, Refuse], Rows]:
    def read(path: Path, refuse: Refuse) -> Rows:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            line = reader.line_num + 1  # on which a row begins, which can go over several
            try:
                for cells in reader:
                    if len(cells) == len(header):
                        yield line, dict(zip(header, cells, strict=True))
                    elif cells:
                        refuse(line, f"{len(cells)} cells under {len(header)} columns")
                    line = reader.line_num + 1
            except csv.Error as error:
                refuse(line, f"cannot be read, nor is what follows: {error}")

    return read


def _parquet(path: Path, refuse: Refuse) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            batches = file.iter_batches(batch_size=_PARQUET_ROWS)
            yield from enumerate((row for one in batches for row in one.to_pylist()), start=1)
    except pa.ArrowInvalid as error:
        raise InputFileError(str(path), None, f"is no Parquet file: {error}") from error


def _checked(line: int, row: Any, refuse: Refuse) -> Rows:
    if isinstance(row, dict):
        yield line, row
    else:
        refuse(line, NO_OBJECT)


READERS: dict[str, Callable[[Path, Refuse], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".parquet": _parquet,
}

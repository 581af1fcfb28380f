"""Reads documents for `sidecar index` from JSONL (BEIR layout) or CSV, with a place to resume at.

File -> Record (its line and the byte after it) -> Document of the collection's schema.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sidecar.commands.filters import attribute_types, to_value
from sidecar.errors import InputFileError, InvalidFieldError
from sidecar.evaluation.beir import parse_object, text_of
from sidecar.v1 import collection_pb2, document_pb2

ID_COLUMNS = ("_id", "id", "doc_id")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read: its line, from 1, and the byte after that line."""

    line: int = 0
    byte: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One document as it stands in the file. `end` is the place after it."""

    line: int
    end: Place
    doc_id: str
    texts: dict[str, Any]
    attributes: dict[str, Any]


def read_records(path: Path, start: Place) -> Iterator[Record]:
    """The records of a file after `start`. Raises InputFileError with the line."""
    try:
        with path.open("rb") as file:
            read = _read_csv if path.suffix.lower() == ".csv" else _read_jsonl
            yield from read(path, file, start)
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error


def _read_jsonl(path: Path, file: IO[bytes], start: Place) -> Iterator[Record]:
    file.seek(start.byte)
    end = start
    for line in file:
        end = Place(end.line + 1, end.byte + len(line))
        if line.strip():
            record = parse_object(path, end.line, line)
            metadata = record.pop("metadata", None) or {}
            if not isinstance(metadata, dict):
                raise InputFileError(str(path), end.line, '"metadata" is not an object')
            doc_id = text_of(record, "_id", path, end.line, required=True)
            yield Record(end.line, end, doc_id, record, metadata)


class _CountedLines:
    """The lines of a CSV file as text, and the place after the last one handed out."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self.end = path, file, Place()

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.end = Place(self.end.line + 1, self.end.byte + len(line))
        try:
            return line.decode("utf-8-sig" if self.end.line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8 at byte {error.start}"
            raise InputFileError(str(self._path), self.end.line, message) from error

    def skip_to(self, place: Place) -> None:
        """Goes on after `place`, unless that was passed already."""
        if place.byte > self.end.byte:
            self._file.seek(place.byte)
            self.end = place


def _read_csv(path: Path, file: IO[bytes], start: Place) -> Iterator[Record]:
    lines = _CountedLines(path, file)
    rows = csv.reader(lines, strict=True)
    header = _next_row(path, lines, rows) or []
    id_column = next((name for name in ID_COLUMNS if name in header), None)
    if id_column is None:
        raise InputFileError(str(path), 1, f"the header names none of {', '.join(ID_COLUMNS)}")
    lines.skip_to(start)
    first = lines.end.line + 1
    while (row := _next_row(path, lines, rows)) is not None:
        if row:
            yield _csv_record(path, header, row, id_column, first, lines.end)
        first = lines.end.line + 1


def _next_row(path: Path, lines: _CountedLines, rows: Iterator[list[str]]) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        raise InputFileError(str(path), lines.end.line, f"not valid CSV: {error}") from error


def _csv_record(
    path: Path, header: list[str], row: list[str], id_column: str, line: int, end: Place
) -> Record:
    if len(row) != len(header):
        message = f"{len(row)} columns, but the header names {len(header)}"
        raise InputFileError(str(path), line, message)
    values = dict(zip(header, row, strict=True))
    doc_id = values.pop(id_column)
    if not doc_id:
        raise InputFileError(str(path), line, f'"{id_column}" is empty')
    filled = {name: value for name, value in values.items() if value}
    return Record(line, end, doc_id, values, filled)


class DocumentBuilder:
    """Turns records into documents of one schema; `left_out` gathers the names it has no place for.

    In JSONL a text field is a key of the object and an attribute a key of its "metadata"; in CSV
    both are columns.
    """

    def __init__(self, path: Path, schema: collection_pb2.Schema) -> None:
        self._path = path
        self._text_fields = [field.name for field in schema.text_fields]
        self._types = attribute_types(schema)
        self.left_out: set[str] = set()

    def build(self, record: Record) -> document_pb2.Document:
        """The document. Raises InputFileError with the line for a value of another type."""
        path, line = self._path, record.line
        document = document_pb2.Document(doc_id=record.doc_id)
        for name in self._text_fields:
            document.fields[name] = text_of(record.texts, name, path, line, required=False)
        for name, value in record.attributes.items():
            if name in self._types and value is not None:
                self._add_attribute(document, name, value, line)
        self._note_left_out(record)
        return document

    def _add_attribute(
        self, document: document_pb2.Document, name: str, value: Any, line: int
    ) -> None:
        try:
            typed = to_value(value, self._types[name], f'attribute "{name}"', in_document=True)
        except InvalidFieldError as error:
            raise InputFileError(str(self._path), line, error.message) from error
        document.attributes[name].CopyFrom(typed)

    def _note_left_out(self, record: Record) -> None:
        names = record.texts.keys() | record.attributes.keys()
        self.left_out |= names - {"_id", *self._text_fields, *self._types}

"""The labelled formats by name, which one a file is of, and its examples.

A format is recognised by the fields of the first row that has those of any; "NAME=FILE" names it
instead. All rows of a file are of that one format: a row of another is refused, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import InputFileError
from training.examples.base import Example, RecordFormat, Row
from training.examples.beir import is_beir, qrels_of, read_beir
from training.examples.fields import query_of
from training.examples.file_kinds import READERS, read_rows
from training.examples.listwise import Listwise
from training.examples.messages import Messages, last_message
from training.examples.pairs import Pairs
from training.examples.places import Place
from training.examples.positives import Positives
from training.examples.refusals import Refusals
from training.examples.trec import COLLECTION, is_trec, qrels_at, read_trec
from training.run_files import CORPUS_FILE

RECORDS: dict[str, RecordFormat] = {
    one.name: one for one in (Positives(), Pairs(), Listwise(), Messages())
}
BEIR, TREC = "beir", "trec"
NAMES = (*RECORDS, BEIR, TREC)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a place gave. `path`: the file whose lines the examples name; `documents`: files of
    documents that came with it."""

    path: Path
    format: str
    examples: tuple[Example, ...]
    documents: tuple[Path, ...] = ()


def read_labelled(place: Place, refusals: Refusals) -> Labelled:
    """Raises InputFileError: not there, no format that is known, no row that is good."""
    path = place.path
    if not path.exists():
        raise InputFileError(str(path), None, "is not there")
    if place.name and place.name not in NAMES:
        raise InputFileError(str(path), None, f"format {place.name!r}: one of {', '.join(NAMES)}")
    name = place.name or _folder_format(path)
    if name == BEIR:
        qrels = qrels_of(path, place.split)
        found = Labelled(
            qrels, name, tuple(read_beir(qrels, refusals)), _existing(path / CORPUS_FILE)
        )
    elif name == TREC:
        qrels = qrels_at(path)
        found = Labelled(qrels, name, tuple(read_trec(qrels, refusals)), _beside(qrels))
    else:
        found = _records(path, name, refusals)
    if not found.examples:
        raise no_example(found.path, refusals)
    return found


def no_example(path: Path, refusals: Refusals) -> InputFileError:
    """Of a file of which no row is good."""
    why = refusals.first.get(str(path)) or next(iter(refusals.first.values()), "it is empty")
    return InputFileError(str(path), None, f"no row of it is an example ({why})")


def _folder_format(path: Path) -> str:
    """ "" for a file of records."""
    if path.is_dir() and is_beir(path):
        return BEIR
    if (path.is_dir() or path.suffix.lower() not in READERS) and is_trec(path):
        return TREC
    if path.is_dir():
        message = (
            "is no folder of examples: a BEIR folder has queries.jsonl and qrels/SPLIT.tsv, a TREC "
            "one has qrels.txt and queries.tsv"
        )
        raise InputFileError(str(path), None, message)
    return ""


def _records(path: Path, name: str, refusals: Refusals) -> Labelled:
    chosen = RECORDS[name] if name else None
    examples: list[Example] = []
    for line, row in read_rows(path, refusals.refusing(path)):
        try:
            chosen = chosen or recognised(row)
            _check_same(row, chosen)
            examples += _examples(line, row, chosen)
        except ValueError as error:
            refusals.refuse(path, line, str(error))
    return Labelled(path, chosen.name if chosen else "", tuple(examples))


def recognised(row: Row) -> RecordFormat:
    """The format of a row. Raises ValueError for none, and for several."""
    found = [one for one in RECORDS.values() if one.recognises(row)]
    if not found:
        known = "; ".join(f"{one.name}: {one.about}" for one in RECORDS.values())
        raise ValueError(f"fields {', '.join(row) or 'none'}: no format that is known ({known})")
    if len(found) > 1:
        names = " or ".join(one.name for one in found)
        raise ValueError(
            f"could be {names}: write {found[0].name}=FILE, or the other, to say which"
        )
    return found[0]


def _check_same(row: Row, chosen: RecordFormat) -> None:
    """Raises ValueError for a row of another format than the file's."""
    if chosen.recognises(row):
        return
    others = [one.name for one in RECORDS.values() if one.recognises(row)]
    said = f"a row of {others[0]}" if others else f"fields {', '.join(row)}"
    raise ValueError(f"{said} in a file of {chosen.name} ({chosen.about})")


def _examples(line: int, row: Row, chosen: RecordFormat) -> list[Example]:
    query = last_message(row) if chosen.name == "messages" else query_of(row)
    synthetic = row.get("synthetic") in (True, "true", "True", 1)
    return [Example(line, query, passage, label, synthetic) for passage, label in chosen.read(row)]


def _existing(*paths: Path) -> tuple[Path, ...]:
    return tuple(path for path in paths if path.is_file())


def _beside(qrels: Path) -> tuple[Path, ...]:
    return _existing(qrels.parent / CORPUS_FILE, qrels.parent / COLLECTION)

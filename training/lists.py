"""What training reads: lists of candidates for queries, and the passages of their documents.

A list is one line of lists.jsonl: {"query_id", "query", "split", "candidates": [{"doc_id", "gain",
"grade", "weight", "source", "teacher", "recalled"}]}; a passage one line of passages.jsonl:
{"doc_id", "passage"}, the text that a model reads of a document (title, line break, text). Labels
are lists before negatives are mined: those candidates that something is known of.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError


class Split(enum.StrEnum):
    """What a query is for. Queries, not pairs, are split: none is in two."""

    TRAIN = "train"
    DEV = "dev"  # checkpoints, weights and calibrations are chosen on it
    TEST = "test"  # evaluated on, once


class Source(enum.StrEnum):
    """Where a candidate of a list comes from."""

    JUDGED = "judged"  # somebody's label
    CLICKED = "clicked"  # the log: clicked or better, with what examination says of it
    SKIPPED = "skipped"  # the log: passed over, never clicked
    SHOWN = "shown"  # the log: shown, and neither clicked nor passed over
    HARD = "hard"  # recalled, and not known to be relevant
    RANDOM = "random"  # drawn from all documents
    SYNTHETIC = "synthetic"  # made up


# What users saw. What was shown, and how high, production's ranking decided.
OF_THE_LOG = frozenset((Source.CLICKED, Source.SKIPPED, Source.SHOWN))
# Of these nobody has said anything: a gain, or none, is what is expected of them.
ASSUMED = frozenset((Source.SKIPPED, Source.SHOWN, Source.HARD, Source.RANDOM))


@dataclass(frozen=True, slots=True)
class ListCandidate:
    """A document of a list. A gain of 0 is a negative.

    `gain`: 0 to 1, how relevant it is (what losses take); `grade`: 0 to 4 (what measures take), a
    whole number but where it is expected of a log; `weight`: 0 to 1, how sure that is; `teacher`: a
    teacher's logit, None: none; `recalled`: the fused score that recall gave it, None: not known.
    """

    doc_id: str
    gain: float
    grade: float
    weight: float = 1.0
    source: Source = Source.JUDGED
    teacher: float | None = None
    recalled: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query with its candidates, of which no two are the same document."""

    query_id: str
    query: str
    split: Split
    candidates: tuple[ListCandidate, ...]

    @property
    def positives(self) -> tuple[ListCandidate, ...]:
        """Clicked or judged ones with a gain, the best first; not those of which a gain is only
        expected."""
        known = (c for c in self.candidates if c.gain > 0 and c.source not in ASSUMED)
        return tuple(sorted(known, key=lambda c: -c.gain))

    @property
    def is_of_users(self) -> bool:
        """Whether it is what users did that is known: nothing, then, of what they were not shown.

        Whoever judges a query is taken to have found what is relevant to it.
        """
        return {each.source for each in self.positives} == {Source.CLICKED}

    @property
    def judged(self) -> Mapping[str, float]:
        """Grade by document id, as measures take it."""
        return {each.doc_id: each.grade for each in self.candidates}


def write_lists(lists: Iterable[TrainingList], path: Path) -> int:
    """One line a list; how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for one in lists:
            out.write(json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_lists(path: Path, split: Split | None = None) -> Iterator[TrainingList]:
    """What `write_lists` wrote, of one split or of all. Raises InputFileError with the line."""
    for number, row in _rows(path):
        try:
            one = _to_list(row)
        except (KeyError, TypeError, ValueError) as error:
            raise InputFileError(str(path), number, f"is no training list: {error}") from error
        if split is None or one.split == split:
            yield one


def write_passages(passages: Mapping[str, str], path: Path) -> None:
    """One line a document."""
    with path.open("w", encoding="utf-8") as out:
        for doc_id, passage in passages.items():
            row = {"doc_id": doc_id, "passage": passage}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_passages(path: Path) -> dict[str, str]:
    """What `write_passages` wrote. Raises InputFileError with the line."""
    passages = {}
    for number, row in _rows(path):
        try:
            passages[str(row["doc_id"])] = str(row["passage"])
        except (KeyError, TypeError) as error:
            raise InputFileError(str(path), number, f"is no passage: {error}") from error
    return passages


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputFileError(str(path), number, error.msg) from error
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error


def _to_list(row: Any) -> TrainingList:
    candidates = tuple(
        ListCandidate(**{**each, "source": Source(each["source"])}) for each in row["candidates"]
    )
    return TrainingList(str(row["query_id"]), row["query"], Split(row["split"]), candidates)

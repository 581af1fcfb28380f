"""Labelled pairs of all files as judgments: one for each pair, the median of its labels.

judgments.jsonl: {"query_id", "doc_id", "gain", "grade", "weight", "source"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sidecar.errors import InputFileError
from training.examples.agreement import krippendorff_alpha
from training.lists import Source


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a pair: `gain` 0 to 1, `grade` 0 to 4; `path` and `line`: where it was read."""

    query_id: str
    doc_id: str
    gain: float
    grade: int
    synthetic: bool = False
    path: Path = Path()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Judgment:
    """`weight`: 1 where all who labelled the pair agree, less the mean distance of their gains from
    the median where they do not."""

    query_id: str
    doc_id: str
    gain: float
    grade: int
    weight: float = 1.0
    source: Source = Source.JUDGED


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of pairs that were labelled more than once. `alpha`: None where it says nothing."""

    pairs: int
    alpha: float | None


def to_judgments(labels: Sequence[Label]) -> tuple[list[Judgment], Agreement]:
    """By query and document, in the order in which pairs first come. Somebody's labels count
    before those that are made up."""
    real = {(one.query_id, one.doc_id) for one in labels if not one.synthetic}
    kept = [one for one in labels if not one.synthetic or (one.query_id, one.doc_id) not in real]
    if not kept:
        return [], Agreement(0, None)
    places: dict[tuple[str, str], int] = {}
    pairs = np.array(
        [places.setdefault((each.query_id, each.doc_id), len(places)) for each in kept]
    )
    gains = np.array([each.gain for each in kept])
    grades = np.array([each.grade for each in kept], dtype=np.float64)
    gain, grade = _medians(pairs, gains), _medians(pairs, grades)
    off = np.bincount(pairs, np.abs(gains - gain[pairs])) / np.bincount(pairs)
    source = {pair: Source.SYNTHETIC for pair in places if pair not in real}
    judgments = [
        Judgment(
            *pair,
            round(float(gain[place]), 6),
            int(np.floor(grade[place] + 0.5)),
            round(1.0 - float(off[place]), 6),
            source.get(pair, Source.JUDGED),
        )
        for pair, place in places.items()
    ]
    several = int((np.bincount(pairs) >= 2).sum())
    return judgments, Agreement(several, krippendorff_alpha(pairs, grades))


def _medians(
    pairs: np.typing.NDArray[np.int64], values: np.typing.NDArray[np.float64]
) -> np.typing.NDArray[np.float64]:
    """(pairs,): of the values of each; of an even number the mean of the two in the middle."""
    ordered = values[np.lexsort([values, pairs])]
    count = np.bincount(pairs)
    begin = np.cumsum(count) - count
    lower, upper = begin + (count - 1) // 2, begin + count // 2
    medians: np.typing.NDArray[np.float64] = (ordered[lower] + ordered[upper]) / 2
    return medians


def write_judgments(judgments: Iterable[Judgment], path: Path) -> int:
    """One line each; how many."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for one in judgments:
            out.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_judgments(path: Path) -> Iterator[Judgment]:
    """What `write_judgments` wrote. Raises InputFileError with the line."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    yield Judgment(**{**row, "source": Source(row["source"])})
                except (ValueError, TypeError, KeyError) as error:
                    raise InputFileError(str(path), number, f"is no judgment: {error}") from error
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error

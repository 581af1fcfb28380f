"""What a file's labels are worth: gains from 0 to 1, grades from 0 to 4.

All labels of a file are on one scale, which is told by all of them together:

- names of grades: from worst to best as `collect.grade_names` has them, or one of KNOWN_SCALES;
- whole numbers: 0 is worth nothing, and so is what is below (qrels mark spam by -1 and -2); a scale
  of 1 to 5 or more, which has no 0, begins at 1. The file's highest label is worth a gain of 1; up
  to 4 labels are grades as they are, else gains are taken four times;
- other numbers: as they are if they are from 0 to 1, else the lowest is worth 0 and the highest 1
  (0 is worth 0 where the lowest is between 0 and 1, or the only one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
HIGHEST_GRADE = 4
_STARS = 5  # whole numbers from 1 up to this or more are taken for stars
# From worst to best.
KNOWN_SCALES: tuple[tuple[str, ...], ...] = (
    ("无关", "间接相关", "直接相关"),
    ("不相关", "部分相关", "相关"),
    ("irrelevant", "complement", "substitute", "exact"),
    ("i", "c", "s", "e"),
    ("irrelevant", "partial", "exact"),
    ("irrelevant", "partially relevant", "relevant"),
    ("not relevant", "partially relevant", "relevant", "highly relevant"),
    ("bad", "fair", "good", "excellent", "perfect"),
    ("irrelevant", "relevant"),
    ("not relevant", "relevant"),
    ("no", "yes"),
    ("false", "true"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """`places` are those of the labels that the scale knows; `words` say which scale it is."""

    gains: FloatArray  # (labels,) NaN for those that it does not know
    grades: IntArray  # (labels,) -1 for those
    words: str
    unknown: str = ""  # why some are not known


def scaled(labels: Sequence[float | str], grade_names: Sequence[str] = ()) -> Scaled:
    """Labels of one file. Names win over numbers if there are both: numbers are then not known."""
    texts = [label.lower() if isinstance(label, str) else "" for label in labels]
    used = {text for text in texts if text}
    if not used:
        return _numbers(np.array(labels, dtype=np.float64))
    names = _scale_of(used, [name.lower() for name in grade_names])
    return _named(texts, names)


def _scale_of(used: set[str], given: Sequence[str]) -> Sequence[str]:
    """The given one, else the known one that has most of the names, the shorter of equals."""
    if given:
        return given
    return max(KNOWN_SCALES, key=lambda scale: (len(used & set(scale)), -len(scale)))


def _named(texts: Sequence[str], names: Sequence[str]) -> Scaled:
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of.get(text, -1) for text in texts], dtype=np.int64)
    gains = np.where(places >= 0, places / max(len(names) - 1, 1), np.nan)
    whole = len(names) - 1 <= HIGHEST_GRADE
    grades = places if whole else np.where(places >= 0, _rounded(np.nan_to_num(gains)), -1)
    reason = (
        f"is none of the grades {', '.join(names)}: give collect.grade_names, from worst to best"
    )
    return Scaled(gains, grades, f"names: {', '.join(names)}", reason if (places < 0).any() else "")


def _numbers(labels: FloatArray) -> Scaled:
    if not len(labels):
        return Scaled(labels, labels.astype(np.int64), "no labels")
    if (labels == np.rint(labels)).all():
        return _whole(labels)
    return _fractions(labels)


def _whole(labels: FloatArray) -> Scaled:
    least, most = float(labels.min()), float(labels.max())
    begin = 1.0 if least >= 1 and most >= _STARS else 0.0
    worth = np.maximum(labels - begin, 0.0)
    highest = max(most - begin, 1.0)
    gains = worth / highest
    grades = worth.astype(np.int64) if highest <= HIGHEST_GRADE else _rounded(gains)
    return Scaled(gains, grades, f"whole numbers from {begin:g} (worth nothing) to {most:g}")


def _fractions(labels: FloatArray) -> Scaled:
    least, most = float(labels.min()), float(labels.max())
    begin = least if least < most and (least < 0 or least >= 1) else min(least, 0.0)
    end = 1.0 if begin == 0 and most <= 1 else most
    gains = (labels - begin) / max(end - begin, 1e-300)
    return Scaled(gains, _rounded(gains), f"numbers from {begin:g} (worth nothing) to {end:g}")


def _rounded(gains: FloatArray) -> IntArray:
    """Halves upwards."""
    grades: IntArray = np.floor(HIGHEST_GRADE * gains + 0.5).astype(np.int64)
    return grades

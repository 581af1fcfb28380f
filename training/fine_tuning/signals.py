"""What says something to a loss: counted in a batch's targets, and looked for in a list.

Candidates of weight 0 say nothing. What a list has to have is asked before training, so that no
step is taken over lists which say nothing; terms are counted in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from training.fine_tuning.collator import Targets
from training.lists import ListCandidate, TrainingList


@dataclass(frozen=True, slots=True)
class Signal:
    """`terms`: how many a mean over a batch is over; `among`: whether candidates that count say
    something."""

    terms: Callable[[Targets], int]
    among: Callable[[Sequence[ListCandidate]], bool]

    def tells(self, one: TrainingList) -> bool:
        """Whether a list says something."""
        return self.among([each for each in one.candidates if each.weight > 0])


def _has_positive(candidates: Sequence[ListCandidate]) -> bool:
    return any(each.gain > 0 for each in candidates)


def _lists_with_positives(targets: Targets) -> int:
    return len(targets.groups[targets.gains > 0].unique())


def _lists_of_two_taught(targets: Targets) -> int:
    return int((targets.groups[~targets.teacher.isnan()].bincount() > 1).sum())


def _lists_of_two_grades(targets: Targets) -> int:
    count = len(targets.query_ids)
    limits = [
        targets.grades.new_full((count,), start).scatter_reduce(
            0, targets.groups, targets.grades, how
        )
        for how, start in (("amin", torch.inf), ("amax", -torch.inf))
    ]
    return int((limits[0] < limits[1]).sum())


PAIR = Signal(lambda t: len(t.gains), bool)
POSITIVE = Signal(lambda t: int((t.gains > 0).sum()), _has_positive)
POSITIVE_AMONG_OTHERS = Signal(
    _lists_with_positives, lambda some: len(some) > 1 and _has_positive(some)
)
TWO_TAUGHT = Signal(
    _lists_of_two_taught, lambda some: sum(each.teacher is not None for each in some) > 1
)
TWO_GRADES = Signal(_lists_of_two_grades, lambda some: len({each.grade for each in some}) > 1)

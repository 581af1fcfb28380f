"""A teacher's scores in lists, and what it says of their negatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from training.lists import ASSUMED, Split, TrainingList

OFF = -1.0


def with_teacher(one: TrainingList, logits: Sequence[float]) -> TrainingList:
    """The list with the teacher's logits of its candidates, in their order."""
    candidates = tuple(
        dataclasses.replace(candidate, teacher=float(logit))
        for candidate, logit in zip(one.candidates, logits, strict=True)
    )
    return dataclasses.replace(one, candidates=candidates)


def denoised(one: TrainingList, margin: float) -> TrainingList:
    """A train list without the negatives that the teacher scores above its best positive less
    `margin` (-1: none are left out): it takes them for relevant. Judged ones stay, dev lists stay
    as recall gave them. Cross-encoder denoising: Qu et al., RocketQA, NAACL 2021, section 4.3."""
    best = max((c.teacher for c in one.positives if c.teacher is not None), default=None)
    if margin == OFF or best is None or one.split is Split.DEV:
        return one
    kept = tuple(
        each
        for each in one.candidates
        if each.gain > 0
        or each.source not in ASSUMED
        or each.teacher is None
        or each.teacher <= best - margin
    )
    return dataclasses.replace(one, candidates=kept)

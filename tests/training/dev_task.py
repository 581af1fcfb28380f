"""Dev lists of made-up words, and the task of exporting a model with them."""

from __future__ import annotations

import dataclasses

import numpy as np

from training.config import ExportConfig
from training.exporting.dev_pairs import DevPairs, pair_values
from training.exporting.export import Task
from training.lists import ListCandidate, Split, TrainingList

from .tiny import WORDS


def dev_pairs(lists=30, candidates=6, grade=2):
    """Queries of two words; the first words of a passage say what it is about."""
    source = np.random.default_rng(0)
    made, passages = [], {}
    for number in range(lists):
        words = source.choice(WORDS, size=2, replace=False).tolist()
        listed = []
        for place in range(candidates):
            doc_id = f"d{number}-{place}"
            is_good = place == number % candidates
            others = source.choice(WORDS, size=12).tolist()
            passages[doc_id] = " ".join(words + others if is_good else others)
            listed.append(ListCandidate(doc_id, float(is_good), grade * is_good))
        made.append(TrainingList(f"q{number}", " ".join(words), Split.DEV, tuple(listed)))
    return DevPairs(made, passages)


def liked_by(opened, dev):
    """The same with the best two of each list by the model's own scores as the relevant ones."""
    lists = []
    for one, scores in dev.by_list(pair_values(opened, dev.pairs)):
        best = set(np.argsort(-scores)[:2].tolist())
        graded = (
            dataclasses.replace(each, gain=float(place in best), grade=2 * (place in best))
            for place, each in enumerate(one.candidates)
        )
        lists.append(dataclasses.replace(one, candidates=tuple(graded)))
    return DevPairs(lists, dev.passages)


def task_of(opened, dev=None, **config):
    dev = dev or dev_pairs()
    is_pair = opened.spec.kind == "cross-encoder"
    return Task(
        opened=opened,
        name="tiny",
        role="second_reranker" if is_pair else "bi_encoder",
        dev=dev,
        before=None,
        lineage={"method": "full", "seed": 7},
        config=ExportConfig(**config),
        seed=7,
    )

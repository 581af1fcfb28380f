"""Lists with negatives: from what is labelled for a query and what recall gives for it.

A train list has the best positives and `MineConfig.negatives` negatives: recalled ones that are not
likely to be relevant, some that users passed over, some drawn from all documents. Judged negatives
are the surest and stand in the place of the first two. A dev list has what recall gives in its
order, known to be irrelevant or not known, as the reranker will meet it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.config import MineConfig
from training.lists import ListCandidate, Source, Split, TrainingList
from training.mining.known import Known
from training.mining.negatives import (
    Shingles,
    in_drawing_order,
    jaccard,
    quotas,
    shingles,
    source_of,
    too_good,
)
from training.mining.passages import Passages
from training.serving.client import Recalled

TRIES = 20  # for each random negative


@dataclass(slots=True)
class Miner:
    """Makes lists, one after another. `counts` says what was taken, and what was left out and why;
    `used` has the passages of all their documents."""

    config: MineConfig
    seed: int
    known: Known
    passages: Passages
    ranks_all_documents: bool  # a bi-encoder's lists: positives outside of recall count, too
    counts: Counter[str] = field(default_factory=Counter)
    used: dict[str, str] = field(default_factory=dict)

    def make(self, labelled: TrainingList, recalled: Sequence[Recalled]) -> TrainingList | None:
        """The list of a train or dev query; None if it has no positive that could be learnt."""
        recalled = recalled[: self.config.depth]
        self.passages.prefetch(each.doc_id for each in (*labelled.candidates, *recalled))
        dev = labelled.split is Split.DEV
        made = self._dev_list(labelled, recalled) if dev else self._train_list(labelled, recalled)
        if any(each.gain > 0 for each in made):
            self.counts[f"{labelled.split}_lists"] += 1
            return TrainingList(labelled.query_id, labelled.query, labelled.split, tuple(made))
        self.counts[f"{labelled.split}_without_positive"] += 1
        return None

    # Dev

    def _dev_list(
        self, labelled: TrainingList, recalled: Sequence[Recalled]
    ) -> list[ListCandidate]:
        """What recall gives; what users clicked and no label says is not known, and left out."""
        labels, relevant = self.known.labels(labelled.query), self.known.relevant(labelled.query)
        kept = [each.doc_id for each in recalled[: self.config.dev_candidates]]
        if self.ranks_all_documents:
            positives = {doc_id for doc_id, label in labels.items() if label.gain > 0}
            kept += sorted(positives - set(kept))
        candidates = [
            labels.get(doc_id, negative(doc_id, Source.HARD))
            for doc_id in kept
            if doc_id in labels or doc_id not in relevant
        ]
        return list(self._with_passages(candidates))

    # Train

    def _train_list(
        self, labelled: TrainingList, recalled: Sequence[Recalled]
    ) -> list[ListCandidate]:
        positives = list(self._with_passages(labelled.positives))
        self._count_recalled(positives, recalled)
        positives.sort(key=lambda each: (-each.gain, -each.weight, each.doc_id))
        kept = positives[: self.config.most_positives]
        return kept + self._negatives(labelled, positives, recalled) if kept else []

    def _negatives(
        self,
        labelled: TrainingList,
        positives: Sequence[ListCandidate],
        recalled: Sequence[Recalled],
    ) -> list[ListCandidate]:
        source = source_of(self.seed, labelled.query_id)
        relevant = self.known.relevant(labelled.query)
        texts = [shingles(self.used[each.doc_id]) for each in positives]
        judged, skipped = self._labelled_negatives(labelled, relevant, texts)
        hard = self._hard(labelled, recalled, relevant, texts, source)
        chosen = self._mixed(judged, skipped, hard)
        taken = relevant | labelled.judged.keys() | {each.doc_id for each in chosen}
        taken |= too_good(recalled, relevant, self.config.relative_margin)
        chosen += self._random(self.config.negatives - len(chosen), taken, texts, source)
        self.counts.update(f"{each.source}_negatives" for each in chosen)
        self.counts["short_lists"] += len(chosen) < self.config.negatives
        return chosen

    def _mixed(
        self,
        judged: Iterator[ListCandidate],
        skipped: Iterator[ListCandidate],
        hard: Iterator[ListCandidate],
    ) -> list[ListCandidate]:
        """All but the random ones: judged ones as many as there are, then by shares; what one kind
        lacks the other gives."""
        config = self.config
        shares = (config.hard_share, config.skipped_share, config.random_share)
        hard_wanted, skipped_wanted, _ = quotas(config.negatives, shares)
        wanted = hard_wanted + skipped_wanted
        chosen = first(wanted, judged)
        skipped_wanted = min(skipped_wanted, wanted - len(chosen))
        chosen += first(skipped_wanted, skipped)
        chosen += first(wanted - len(chosen), hard)
        return chosen + first(wanted - len(chosen), skipped)

    def _labelled_negatives(
        self, labelled: TrainingList, relevant: set[str], positives: Sequence[Shingles]
    ) -> tuple[Iterator[ListCandidate], Iterator[ListCandidate]]:
        """(judged, passed over), the surest first. Who passed over a near duplicate of what he
        took did not mean its text."""
        zeros = [each for each in labelled.candidates if not each.gain]
        zeros = [each for each in zeros if each.doc_id not in relevant]
        zeros.sort(key=lambda each: (-each.weight, each.doc_id))
        users = [each for each in zeros if each.source is Source.SKIPPED]
        others = [each for each in zeros if each.source is not Source.SKIPPED]
        return self._with_passages(others), self._unlike(users, positives)

    def _hard(
        self,
        labelled: TrainingList,
        recalled: Sequence[Recalled],
        relevant: set[str],
        positives: Sequence[Shingles],
        source: np.random.Generator,
    ) -> Iterator[ListCandidate]:
        config = self.config
        window = [each for each in recalled if config.first_rank <= each.rank <= config.last_rank]
        near = too_good(recalled, relevant, config.relative_margin)
        labelled_ids = labelled.judged.keys()
        elsewhere, known = relevant - labelled_ids, relevant | labelled_ids
        unknown = [each for each in window if each.doc_id not in known]
        left = [each for each in unknown if each.doc_id not in near]
        self.counts["dropped_relevant_elsewhere"] += sum(x.doc_id in elsewhere for x in window)
        self.counts["dropped_too_good"] += len(unknown) - len(left)
        drawn = in_drawing_order(left, source)
        return self._unlike((negative(each.doc_id, Source.HARD) for each in drawn), positives)

    def _random(
        self,
        count: int,
        taken: set[str],
        positives: Sequence[Shingles],
        source: np.random.Generator,
    ) -> list[ListCandidate]:
        """From all documents of the corpus but those that are taken."""
        doc_ids = self.passages.doc_ids
        if not count or not doc_ids:
            return []
        drawn = (doc_ids[at] for at in source.integers(len(doc_ids), size=TRIES * count))
        free = dict.fromkeys(doc_id for doc_id in drawn if doc_id not in taken)
        return first(
            count, self._unlike((negative(each, Source.RANDOM) for each in free), positives)
        )

    # Passages

    def _with_passages(self, candidates: Iterable[ListCandidate]) -> Iterator[ListCandidate]:
        """Those whose document is there and has a text, which is kept."""
        for candidate in candidates:
            if self._passage(candidate.doc_id):
                yield candidate
            else:
                self.counts["documents_gone"] += 1

    def _unlike(
        self, candidates: Iterable[ListCandidate], positives: Sequence[Shingles]
    ) -> Iterator[ListCandidate]:
        """Those that are no near duplicate of a positive."""
        for candidate in self._with_passages(candidates):
            text = shingles(self.used[candidate.doc_id])
            if any(jaccard(text, each) >= self.config.near_duplicate for each in positives):
                self.counts["dropped_near_duplicates"] += 1
            else:
                yield candidate

    def _passage(self, doc_id: str) -> str:
        if doc_id not in self.used:
            self.used |= self.passages.of([doc_id])
        return self.used.get(doc_id, "")

    def _count_recalled(
        self, positives: Sequence[ListCandidate], recalled: Sequence[Recalled]
    ) -> None:
        found = {each.doc_id for each in recalled}
        self.counts["positives"] += len(positives)
        self.counts["positives_recalled"] += sum(each.doc_id in found for each in positives)


def negative(doc_id: str, source: Source) -> ListCandidate:
    """A document that nothing good is known of."""
    return ListCandidate(doc_id, 0.0, 0, source=source)


def first(count: int, candidates: Iterator[ListCandidate]) -> list[ListCandidate]:
    """At most so many; the iterator goes on after them."""
    return [candidate for _, candidate in zip(range(count), candidates, strict=False)]


def passages_of(lists: Iterable[TrainingList], used: Mapping[str, str]) -> dict[str, str]:
    """The passages of all documents of lists, by id, in order of first appearance."""
    doc_ids = (each.doc_id for one in lists for each in one.candidates)
    return {doc_id: used[doc_id] for doc_id in dict.fromkeys(doc_ids)}

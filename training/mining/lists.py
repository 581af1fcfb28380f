"""Lists with negatives: from what is labelled for a query and what recall gives for it.

A train list has the best positives and `MineConfig.negatives` negatives: recalled ones that are not
likely to be relevant, some that users passed over, some drawn from all documents. Judged negatives
are the surest and stand in the place of the first two. A dev list has what recall gives in its
order, known to be irrelevant or not known, as the reranker will meet it.

Where labels are what users did, a train list may have what they were shown instead, each document
with the gain that is expected of it (expected_lists.py), and a dev list's grades are those that
the log lets expect (labels/expected_grades.py): if what production did not show counted as
irrelevant, a model would be the worse the more it differs from production.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from training.config import MineConfig
from training.labels.expected_grades import ExpectedGrades
from training.lists import ListCandidate, Source, Split, TrainingList
from training.mining.expected_lists import shown_candidates, unshown_candidates
from training.mining.known import KnownRelevance
from training.mining.negatives import in_drawing_order, quotas, source_of, too_good
from training.mining.passages import Passages
from training.serving.client import RecallHit
from training.shingles import Shingles, jaccard, shingles

TRIES = 20  # for each random negative


@dataclass(slots=True)
class Miner:
    """Makes lists, one after another. `counts` says what was taken, and what was left out and why;
    `used` has the passages of all their documents."""

    config: MineConfig
    seed: int
    known: KnownRelevance
    passages: Passages
    ranks_all_documents: bool  # a bi-encoder's lists: positives outside of recall count, too
    expected_grades: ExpectedGrades | None = None  # of queries that users asked
    expects_gains: bool = False  # train lists of such queries, too, are by what is expected
    counts: Counter[str] = field(default_factory=Counter)
    used: dict[str, str] = field(default_factory=dict)

    def make(self, labelled: TrainingList, recalled: Sequence[RecallHit]) -> TrainingList | None:
        """The list of a train or dev query; None if it has no positive that could be learnt."""
        recalled = recalled[: self.config.depth]
        self.passages.prefetch([*labelled.judged, *(each.doc_id for each in recalled)])
        dev = labelled.split is Split.DEV
        made = self._dev_list(labelled, recalled) if dev else self._train_list(labelled, recalled)
        if any(each.gain > 0 for each in made):
            self.counts[f"{labelled.split}_lists"] += 1
            return TrainingList(labelled.query_id, labelled.query, labelled.split, tuple(made))
        self.counts[f"{labelled.split}_without_positive"] += 1
        return None

    # Dev

    def _dev_list(
        self, labelled: TrainingList, recalled: Sequence[RecallHit]
    ) -> list[ListCandidate]:
        """What recall gives; what users clicked and no label says is not known, and left out."""
        labels, relevant = self.known.labels(labelled.query), self.known.relevant(labelled.query)
        kept = {each.doc_id: each.score for each in recalled[: self.config.dev_candidates]}
        missed: set[str] = set()
        if self.ranks_all_documents:
            missed = {doc_id for doc_id, label in labels.items() if label.gain > 0} - kept.keys()
        found = [
            dataclasses.replace(
                labels.get(doc_id, negative(doc_id, Source.HARD)), recalled=kept.get(doc_id)
            )
            for doc_id in (*kept, *sorted(missed))
        ]
        if labelled.is_of_users and self.expected_grades is not None:
            found = self._expected(labelled.query_id, found, self.expected_grades)
        else:
            found = [each for each in found if each.gain > 0 or each.doc_id not in relevant]
        return list(self._with_passages(found))

    def _expected(
        self, query_id: str, found: Sequence[ListCandidate], grades: ExpectedGrades
    ) -> list[ListCandidate]:
        """Grades that are expected of the log. What was not shown stands just below what was,
        wherever recall has it: a checkpoint is not the worse for ranking unlike recall."""
        shown, made = grades.shown.get(query_id, {}), []
        for each in found:
            unknown = each.source is Source.HARD and each.doc_id in shown
            source = Source.SHOWN if unknown else each.source
            grade = grades.grade(query_id, each.doc_id, grades.depth + 1)
            made.append(dataclasses.replace(each, grade=grade, source=source))
        return made

    # Train

    def _train_list(
        self, labelled: TrainingList, recalled: Sequence[RecallHit]
    ) -> list[ListCandidate]:
        positives = list(self._with_passages(labelled.positives))
        positives.sort(key=lambda each: (-each.gain, -each.weight, each.doc_id))
        self._count_recalled(positives, recalled)
        best = positives[: self.config.most_positives]
        if not best:
            return []
        learnt = self._learnt(labelled, recalled, positives, best)
        grades = self._grades_of(labelled)
        return self._as_expected(learnt, grades) if grades else best + self._negatives(learnt)

    def _grades_of(self, labelled: TrainingList) -> ExpectedGrades | None:
        """By which a train list is made; None: by labels alone."""
        grades, told = self.expected_grades, self.expects_gains and self.config.shown > 0
        if grades is None or not told or not labelled.is_of_users:
            return None
        return grades if labelled.query_id in grades.shown else None

    def _as_expected(self, learnt: _Learnt, grades: ExpectedGrades) -> list[ListCandidate]:
        """What was shown, and beside it what was not: recalled ones and random ones."""
        # Of the hard share alone, 4 of 7: beside the other two its half would be rounded down.
        count, share = self.config.negatives, self.config.hard_share
        hard, random = quotas(count, (share, 1 - share))[0], quotas(count, self._shares)[2]
        shown = grades.shown[learnt.labelled.query_id]
        known = shown.keys() | learnt.labelled.judged.keys()
        drawn = in_drawing_order(self._window(learnt.recalled, known), learnt.source)
        self.passages.prefetch(shown)
        unshown = self._with_passages(unshown_candidates(drawn, grades))
        best = self._with_passages(shown_candidates(learnt.labelled, shown))
        made = first(self.config.shown, best)
        made += first(hard, itertools.chain(self._judged(learnt), unshown))
        made += self._random(random, learnt, known | {each.doc_id for each in made})
        self.counts["expected_lists"] += 1
        self.counts.update(f"expected_{each.source}" for each in made)
        return made

    def _learnt(
        self,
        labelled: TrainingList,
        recalled: Sequence[RecallHit],
        positives: Sequence[ListCandidate],
        best: Sequence[ListCandidate],
    ) -> _Learnt:
        return _Learnt(
            labelled,
            recalled,
            self.known.relevant(labelled.query),
            too_good(recalled, {each.doc_id for each in best}, self.config.relative_margin),
            tuple(shingles(self.used[each.doc_id]) for each in positives),
            source_of(self.seed, labelled.query_id),
        )

    def _negatives(self, learnt: _Learnt) -> list[ListCandidate]:
        """By shares; what one kind lacks the others give."""
        config = self.config
        hard, skipped, _ = quotas(config.negatives, self._shares)
        wanted = hard + skipped
        passed_over = self._passed_over(learnt)
        chosen = first(wanted, self._judged(learnt))
        chosen += first(min(skipped, wanted - len(chosen)), passed_over)
        chosen += first(wanted - len(chosen), self._hard(learnt))
        chosen += first(wanted - len(chosen), passed_over)
        taken = {each.doc_id for each in chosen}
        chosen += self._random(config.negatives - len(chosen), learnt, taken)
        self.counts.update(f"{each.source}_negatives" for each in chosen)
        self.counts["short_lists"] += len(chosen) < config.negatives
        return chosen

    def _judged(self, learnt: _Learnt) -> Iterator[ListCandidate]:
        """What somebody has called irrelevant."""
        zeros = learnt.zeros()
        return self._with_passages(each for each in zeros if each.source is not Source.SKIPPED)

    def _passed_over(self, learnt: _Learnt) -> Iterator[ListCandidate]:
        """Not those that are near duplicates of what was taken: it was not their text that lost."""
        zeros = learnt.zeros()
        return self._unlike((each for each in zeros if each.source is Source.SKIPPED), learnt)

    def _hard(self, learnt: _Learnt) -> Iterator[ListCandidate]:
        """Recalled within the window, of which nothing is known, in the order they are drawn."""
        window = self._window(learnt.recalled)
        labels = learnt.labelled.judged.keys()
        elsewhere, known = learnt.relevant - labels, learnt.relevant | labels
        unknown = [each for each in window if each.doc_id not in known]
        left = [each for each in unknown if each.doc_id not in learnt.too_good]
        self.counts["dropped_relevant_elsewhere"] += sum(x.doc_id in elsewhere for x in window)
        self.counts["dropped_too_good"] += len(unknown) - len(left)
        drawn = in_drawing_order(left, learnt.source)
        return self._unlike((negative(each.doc_id, Source.HARD) for each in drawn), learnt)

    def _random(self, count: int, learnt: _Learnt, taken: Set[str]) -> list[ListCandidate]:
        """From all documents of the corpus of which nothing is known, but for those `taken`."""
        doc_ids = self.passages.doc_ids
        if not count or not doc_ids:
            return []
        taken = taken | learnt.relevant | learnt.too_good | learnt.labelled.judged.keys()
        drawn = (doc_ids[at] for at in learnt.source.integers(len(doc_ids), size=TRIES * count))
        free = dict.fromkeys(doc_id for doc_id in drawn if doc_id not in taken)
        return first(count, self._unlike((negative(one, Source.RANDOM) for one in free), learnt))

    @property
    def _shares(self) -> tuple[float, float, float]:
        return self.config.hard_share, self.config.skipped_share, self.config.random_share

    def _window(
        self, recalled: Sequence[RecallHit], without: Set[str] = frozenset()
    ) -> list[RecallHit]:
        """Those of the ranks that are mined, but for documents of `without`."""
        ranks = range(self.config.first_rank, self.config.last_rank + 1)
        return [each for each in recalled if each.rank in ranks and each.doc_id not in without]

    # Passages

    def _with_passages(self, candidates: Iterable[ListCandidate]) -> Iterator[ListCandidate]:
        """Those whose document is there and has a text, which is kept."""
        for candidate in candidates:
            if self._passage(candidate.doc_id):
                yield candidate
            else:
                self.counts["documents_gone"] += 1

    def _unlike(
        self, candidates: Iterable[ListCandidate], learnt: _Learnt
    ) -> Iterator[ListCandidate]:
        """Those that are no near duplicate of a positive."""
        for candidate in self._with_passages(candidates):
            text = shingles(self.used[candidate.doc_id])
            if any(jaccard(text, each) >= self.config.near_duplicate for each in learnt.positives):
                self.counts["dropped_near_duplicates"] += 1
            else:
                yield candidate

    def _passage(self, doc_id: str) -> str:
        if doc_id not in self.used:
            self.used |= self.passages.of([doc_id])
        return self.used.get(doc_id, "")

    def _count_recalled(
        self, positives: Sequence[ListCandidate], recalled: Sequence[RecallHit]
    ) -> None:
        found = {each.doc_id for each in recalled}
        self.counts["positives"] += len(positives)
        self.counts["positives_recalled"] += sum(each.doc_id in found for each in positives)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """A train query, with what its negatives are chosen by."""

    labelled: TrainingList
    recalled: Sequence[RecallHit]
    relevant: Set[str]  # all that is known to be, not only its own labels
    too_good: Set[str]  # by the scores of recall
    positives: Sequence[Shingles]  # their texts
    source: np.random.Generator

    def zeros(self) -> list[ListCandidate]:
        """Labelled negatives, the surest first."""
        zeros = [
            each
            for each in self.labelled.candidates
            if not each.gain and each.doc_id not in self.relevant
        ]
        return sorted(zeros, key=lambda each: (-each.weight, each.doc_id))


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

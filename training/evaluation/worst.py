"""The queries that the candidate does worst on, and what went wrong, in words.

Rankings, judgments, values -> `worst_queries` -> rows of errors.jsonl: those that lose most against
production, then those with the lowest values. Every row has a first reason and all that apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.evaluation.measures import Judged
from training.shingles import jaccard, shingles

LOST_SHARE = 0.5  # of the rows, for queries that lost; the others are those with low values
NEAR_DUPLICATE = 0.9
POSITIVES_TOLD = 5

MISSED = "recall missed it"
UNREAD = "beyond the depth that is read"
DUPLICATE = "near duplicate first"
BELOW = "the model put it below"
UNJUDGED = "unjudged document first"
IRRELEVANT = "irrelevant document first"
FURTHER = "further relevant documents are low"
GONE = "nothing relevant is known"


@dataclass(frozen=True, slots=True)
class Case:
    """One query. Rankings are document ids, best first.

    `recalled`: the candidate's fused ranking; `read`: the ranking that its model reordered down to
    `depth` (a bi-encoder: the lexical leg, 0); `scores`: those of its model.
    """

    query_id: str
    query: str
    judged: Judged
    production: Sequence[str]
    candidate: Sequence[str]
    recalled: Sequence[str]
    read: Sequence[str]
    depth: int
    scores: Mapping[str, float]
    values: tuple[float, float]  # of production, of the candidate

    @property
    def positives(self) -> list[str]:
        """The most relevant first."""
        found = [doc_id for doc_id, grade in self.judged.items() if grade >= 1]
        return sorted(found, key=lambda doc_id: -self.judged[doc_id])


def chosen_cases(values: Mapping[str, tuple[float, float]], most: int) -> list[str]:
    """Query ids: those whose candidate's value is furthest below production's, then the lowest."""
    by_loss = sorted(values, key=lambda query_id: values[query_id][1] - values[query_id][0])
    lost = [each for each in by_loss if values[each][1] < values[each][0]]
    lost = lost[: max(1, round(most * LOST_SHARE))]
    low = sorted(values, key=lambda query_id: (values[query_id][1], -values[query_id][0]))
    imperfect = [each for each in low if each not in set(lost) and values[each][1] < 1.0]
    return (lost + imperfect)[:most]


def worst_row(case: Case, passages: Mapping[str, str]) -> dict[str, Any]:
    """A row of errors.jsonl; `passages` of the positives and of the first document."""
    reasons = list(reasons_of(case, passages))
    return {
        "query_id": case.query_id,
        "query": case.query,
        "production": round(case.values[0], 4),
        "candidate": round(case.values[1], 4),
        "difference": round(case.values[1] - case.values[0], 4),
        "reason": reasons[0][0],
        "explanation": " ".join([*_lost(case), *(told for _, told in reasons)]),
        "reasons": [name for name, _ in reasons],
        "positives": [_positive(case, doc_id) for doc_id in case.positives[:POSITIVES_TOLD]],
        "top1": _top(case, passages),
        "score_gap": _score_gap(case),
    }


def reasons_of(case: Case, passages: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of all that apply, the one that explains most first; at least one."""
    positives = case.positives
    if not positives:
        yield GONE, "No document is known to be relevant."
        return
    if not set(positives) & set(case.recalled):
        yield MISSED, _of_missed(case, positives)
    else:
        yield from _of_reading(case, positives)
    top = case.candidate[0] if case.candidate else ""
    if top and top not in positives:
        yield from _of_top(case, top, positives, passages)
    elif set(positives) & set(case.recalled):
        ranks = [rank_of(case.candidate, doc_id) for doc_id in positives]
        yield FURTHER, f"Relevant documents are at the ranks {_in_words(ranks)}."


def near_duplicate(one: str, other: str) -> bool:
    """Whether two texts share most of their words in threes; empty ones do not."""
    return bool(one.strip()) and jaccard(shingles(one), shingles(other)) >= NEAR_DUPLICATE


def rank_of(ranking: Sequence[str], doc_id: str) -> int | None:
    """From 1; None where it is not ranked."""
    return ranking.index(doc_id) + 1 if doc_id in ranking else None


def _lost(case: Case) -> Iterator[str]:
    """How the first relevant document fell against production."""
    before, after = (
        min((rank for doc_id in case.positives if (rank := rank_of(ranking, doc_id))), default=0)
        for ranking in (case.production, case.candidate)
    )
    if before and after and before < after:
        yield f"Production has the first relevant document at rank {before}, this at rank {after}."


def _of_missed(case: Case, positives: Sequence[str]) -> str:
    before = [rank for doc_id in positives if (rank := rank_of(case.production, doc_id))]
    told = f"None of {len(positives)} relevant documents is among {len(case.recalled)} recalled"
    return f"{told}; production has one at rank {min(before)}." if before else f"{told}."


def _of_reading(case: Case, positives: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What became of the best positive between the ranking that the model read and the end."""
    best = min(positives, key=lambda doc_id: rank_of(case.read, doc_id) or len(case.read) + 1)
    before, after = rank_of(case.read, best), rank_of(case.candidate, best)
    if before is None:
        return
    if case.depth and before > case.depth:
        told = f"The first relevant document was at rank {before}, {case.depth} are read."
        yield UNREAD, told
    elif after is None or after > before:
        to = f"rank {after}" if after else "no rank that is served"
        yield BELOW, f"A relevant document went from rank {before} to {to}."


def _of_top(
    case: Case, top: str, positives: Sequence[str], passages: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What the first document is, which is not known to be relevant."""
    twin = next(
        (
            each
            for each in positives
            if near_duplicate(passages.get(top, ""), passages.get(each, ""))
        ),
        None,
    )
    if twin is not None:
        yield DUPLICATE, f"The first document reads nearly as {twin}, which is relevant."
    elif top in case.judged:
        yield IRRELEVANT, "The first document was judged not relevant."
    else:
        yield UNJUDGED, "Nobody has judged the first document; it counts as not relevant."


def _positive(case: Case, doc_id: str) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "grade": case.judged[doc_id],
        "production_rank": rank_of(case.production, doc_id),
        "candidate_rank": rank_of(case.candidate, doc_id),
        "recall_rank": rank_of(case.recalled, doc_id),
    }


def _top(case: Case, passages: Mapping[str, str]) -> dict[str, Any] | None:
    if not case.candidate:
        return None
    doc_id = case.candidate[0]
    return {
        "doc_id": doc_id,
        "grade": case.judged.get(doc_id),
        "passage": passages.get(doc_id, "")[:300],
    }


def _score_gap(case: Case) -> float | None:
    """How much higher the model scores its first document than its best relevant one."""
    top = case.scores.get(case.candidate[0]) if case.candidate else None
    relevant = [case.scores[doc_id] for doc_id in case.positives if doc_id in case.scores]
    return None if top is None or not relevant else round(top - max(relevant), 4)


def _in_words(ranks: Sequence[int | None]) -> str:
    told = [str(rank) if rank else "none" for rank in ranks[:POSITIVES_TOLD]]
    return ", ".join(told)

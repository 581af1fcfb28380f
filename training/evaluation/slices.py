"""Parts of the queries that are looked at on their own: asked often or rarely, short or long, by
language, seen in training or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from sidecar.recall.analyzers import analyzer
from training.evaluation.queries import MeasuredQuery

LEAST_QUERIES = 10  # of fewer a mean says nothing, and each slice makes p of the others larger
LENGTHS = (("1 word", 1, 1), ("2-3 words", 2, 3), ("4-6 words", 4, 6), ("7+ words", 7, math.inf))
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")

Slices = dict[str, list[str]]


def slices_of(queries: Mapping[str, MeasuredQuery], head_share: float) -> Slices:
    """Name -> query ids. Left out: slices of fewer than LEAST_QUERIES, and those of all queries."""
    found = {
        **_by_frequency(queries, head_share),
        **_by_length(queries),
        **_by_language(queries),
        **_by_training(queries),
    }
    return {name: ids for name, ids in found.items() if LEAST_QUERIES <= len(ids) < len(queries)}


def words_of(text: str) -> int:
    """Words: those between spaces; of Chinese text its dictionary's."""
    if not _HAN.search(text):
        return len(text.split())
    terms = analyzer("chinese")(text)
    longer = sum(len(term) > 1 for term in terms)
    return max(1, longer or len(text.split()))


def _by_frequency(queries: Mapping[str, MeasuredQuery], head_share: float) -> Slices:
    """The head: the queries asked most, about `head_share` of all; equals are not parted."""
    often = sorted((query.frequency for query in queries.values()), reverse=True)
    if not often or often[0] == often[-1]:
        return {}
    least = often[max(0, math.ceil(head_share * len(often)) - 1)]
    if least == often[-1]:  # the rarest ones reach into the share
        least = next(each for each in reversed(often) if each > least)
    head = [key for key, query in queries.items() if query.frequency >= least]
    return {"head": head, "tail": _others(queries, head)}


def _by_length(queries: Mapping[str, MeasuredQuery]) -> Slices:
    lengths = {key: words_of(query.text) for key, query in queries.items()}
    return {
        name: [key for key, words in lengths.items() if least <= words <= most]
        for name, least, most in LENGTHS
    }


def _by_language(queries: Mapping[str, MeasuredQuery]) -> Slices:
    languages = sorted({query.language for query in queries.values()})
    return {
        f"language {name or 'unknown'}": [
            key for key, query in queries.items() if query.language == name
        ]
        for name in languages
    }


def _by_training(queries: Mapping[str, MeasuredQuery]) -> Slices:
    seen = [key for key, query in queries.items() if query.seen]
    return {"seen": seen, "unseen": _others(queries, seen)} if seen else {}


def _others(queries: Mapping[str, MeasuredQuery], some: Sequence[str]) -> list[str]:
    known = set(some)
    return [key for key in queries if key not in known]

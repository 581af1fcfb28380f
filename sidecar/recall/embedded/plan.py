"""How a leg searches under a filter: within it, or all documents more deeply, cut afterwards.

Both are exact as the index is: an attempt that may lack some is followed by another. Which is
faster depends on the share of the documents that match.

Lexical, measured with 400,000 documents of Zipf-distributed words, the best 216, median ms on one
core of a busy machine, queries with stop-word-like terms (of up to all documents) / without:

    share that matches              .01 %     .1 %      1 %      10 %      50 %      90 %
    within (a tantivy clause)     1.1 / .3  1.5 / .2  2.3 / .2  4.2 / .3   18 / .4   18 / .4
    all documents, cut                                          11 / 1.3  4.3 / .4  4.0 / .3
    within, as a set of ordinals  1.2 / .6  8.3 / 7.5  22 / 25   59 / 55

Without a filter it is 4.2 / .3 ms: a clause costs tantivy its block-max pruning, which matters as
soon as many documents both match and have a word of the query. A set of ordinals never pays.

Dense, 300,000 vectors in lists (dense_lists.py, which plans within by itself), the best 216:

    share that matches            .01 %     .1 %      1 %       5 %      10 %      30 %      50 %
    within                          .1       .2       1.3       8.5       19        34       130
    all documents, cut                                         45        18        23        30

Without a filter it is 15 ms here, for these vectors hardly lie in clusters. R@100 against an exact
scan is 1.0 up to 10 %, above .995 beyond, either way.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.recall.embedded.ties import Found, search_with_ties

# From this share on, all documents are searched and cut.
LEXICAL_LEAST_SHARE = 0.3
DENSE_LEAST_SHARE = 0.3
# So much deeper than documents match on average, which leaves a few searches in a thousand short
# where the filter has nothing to do with the query; and the second time, where it has.
MARGIN, MARGIN_DOCUMENTS = 1.2, 32
DEEPER = 4


class Way(enum.Enum):
    """Where the filter cuts."""

    WITHIN = "within the search"
    AFTER = "after it"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One search: where the filter cuts, and how many candidates are searched for."""

    way: Way
    depth: int


def attempts(matching: int, total: int, depth: int, least_share: float) -> tuple[Attempt, ...]:
    """What to try, one after the other, until `depth` candidates pass, or a search has found all
    that it can; the last one always suffices. `matching` of `total` documents pass the filter."""
    within = Attempt(Way.WITHIN, depth)
    if matching == 0 or matching < least_share * total:
        return (within,)
    deep = math.ceil(MARGIN * depth * total / matching) + MARGIN_DOCUMENTS
    return Attempt(Way.AFTER, deep), Attempt(Way.AFTER, DEEPER * deep), within


def first_enough(
    tries: Sequence[Attempt],
    depth: int,
    search: Callable[[Way, int], Found | None],
    keep: Callable[[Found], Found],
) -> Found | None:
    """What an index finds in the first attempt that leaves `depth` candidates, with all equals of
    the last one, or in which it has found all that it can. None if it has no answer.

    `keep` drops what the index should not have found; the last attempt goes on, more deeply.
    """
    for attempt in tries:
        asked = attempt.depth
        while True:
            found = search_with_ties(asked, functools.partial(search, attempt.way))
            if not found:
                return found
            kept = keep(found)
            if len(kept) >= depth or len(found) < asked:
                return kept
            if attempt is not tries[-1]:
                break
            asked += len(found) - len(kept)
    raise AssertionError("the last attempt ends by itself")

"""Which tokens of a passage are read: its length and budget -> spans of tokens, a group a pair.

CUT_TAIL reads the first `budget` tokens; HEAD_AND_TAIL the first and the last half of the budget
(the odd token is the head's), one after the other in one pair; CHUNK_AND_MAX several pairs of
`budget` tokens, each of which begins an eighth of the budget before the last one ends, so that a
sentence at a border stands whole in one of them; REJECT nothing.
"""

from __future__ import annotations

from sidecar.types import LongPassages, Truncation

Span = tuple[int, int]  # token numbers: from, up to but not including
OVERLAP_SHARE = 8  # of a chunk, one part in so many is read again in the next


def to_spans(count: int, budget: int, truncation: Truncation) -> tuple[tuple[Span, ...], ...]:
    """The spans of each pair of a passage of `count` tokens; one whole span where it fits."""
    if count <= budget:
        return (((0, count),),)
    if truncation.long_passages is LongPassages.REJECT:
        return ()
    if truncation.long_passages is LongPassages.CHUNK_AND_MAX:
        return tuple((chunk,) for chunk in _chunks(count, budget, truncation.max_chunks))
    tail = tail_tokens(budget, truncation)
    return (
        tuple(span for span in ((0, budget - tail), (count - tail, count)) if span[0] < span[1]),
    )


def tokens_needed(budget: int, truncation: Truncation) -> int:
    """How many tokens of a passage's start decide its spans; its tail may be wanted besides."""
    if truncation.long_passages is LongPassages.CHUNK_AND_MAX:
        return budget + (max(1, truncation.max_chunks) - 1) * _stride(budget)
    return budget


def tail_tokens(budget: int, truncation: Truncation) -> int:
    """How many tokens are read of the end of a passage that is over its budget."""
    return budget // 2 if truncation.long_passages is LongPassages.HEAD_AND_TAIL else 0


def leaves_out(count: int, spans: tuple[tuple[Span, ...], ...]) -> bool:
    """Whether some of `count` tokens are in no span."""
    reached = 0
    for group in spans:
        for start, end in group:
            if start > reached:
                return True
            reached = max(reached, end)
    return reached < count


def _stride(budget: int) -> int:
    return budget - budget // OVERLAP_SHARE


def _chunks(count: int, budget: int, max_chunks: int) -> list[Span]:
    chunks = [(0, budget)]
    while chunks[-1][1] < count and len(chunks) < max_chunks:
        start = len(chunks) * _stride(budget)
        chunks.append((start, min(start + budget, count)))
    return chunks

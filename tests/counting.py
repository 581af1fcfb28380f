"""Facets counted as plainly as can be, and generated requests for them."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from recalling import OPERANDS, VALUES

from sidecar.types import Attribute, Facet, FacetCount, FacetRange, FacetRequest

RANGED = ("year", "price", "seen")


def _ranges(name: str) -> st.SearchStrategy[FacetRange]:
    bounds = st.none() | st.sampled_from(OPERANDS[name])
    ranges = st.builds(FacetRange, bounds, bounds)
    return ranges.filter(lambda r: r.at_least is not None or r.less_than is not None)


requests = st.one_of(
    *(st.builds(FacetRequest, st.just(name), st.integers(1, 4)) for name in VALUES),
    *(
        st.builds(
            FacetRequest,
            st.just(name),
            ranges=st.lists(_ranges(name), min_size=1, max_size=3).map(tuple),
        )
        for name in RANGED
    ),
)


def counted(request: FacetRequest, documents: list[dict[str, Attribute]]) -> Facet:
    """What a facet is, by collections.Counter over the documents."""
    held = [_strings_or_one(document.get(request.attribute, ())) for document in documents]
    if request.ranges:
        told = [
            FacetCount(wanted, sum(any(_within(wanted, v) for v in values) for values in held))
            for wanted in request.ranges
        ]
        other = sum(
            bool(values) and not any(_within(r, v) for r in request.ranges for v in values)
            for values in held
        )
    else:
        counts = Counter(value for values in held for value in set(values))
        best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: request.limit]
        told = [FacetCount(value, count) for value, count in best]
        shown = {value for value, _ in best}
        other = sum(bool(values) and not shown & set(values) for values in held)
    return Facet(request.attribute, tuple(told), other, sum(not values for values in held))


def _strings_or_one(value: Attribute) -> tuple[Attribute, ...]:
    return value if isinstance(value, tuple) else (value,)


def _within(wanted: FacetRange, value) -> bool:
    if wanted.at_least is not None and value < wanted.at_least:
        return False
    return wanted.less_than is None or value < wanted.less_than

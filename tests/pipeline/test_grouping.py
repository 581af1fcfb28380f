"""Few hits of each value, against a dictionary of lists."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recalling import SCHEMA

from sidecar.errors import InvalidFieldError
from sidecar.pipeline.grouping import check_grouping, cut_grouped, grouped, with_groups
from sidecar.types import Grouping, Hit, Stage

VALUES = st.none() | st.sampled_from(["a", "b", "c", ""])


def hits_of(groups: list[object]) -> list[Hit]:
    return [
        Hit(f"d{rank}", rank, Stage.FUSED, 1.0 / rank, group=group)
        for rank, group in enumerate(groups, start=1)
    ]


@given(st.lists(VALUES, max_size=40), st.integers(1, 5))
def test_the_first_of_each_group_and_all_without_one_stay_in_order(groups, per_group):
    by_group: dict[object, list[int]] = {}
    for place, group in enumerate(groups):
        by_group.setdefault(group, []).append(place)
    places = [
        place
        for group, of_group in by_group.items()
        for place in (of_group if group is None else of_group[:per_group])
    ]
    found = grouped(hits_of(groups), per_group)
    assert [hit.doc_id for hit in found] == [f"d{place + 1}" for place in sorted(places)]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))


@given(st.lists(VALUES, max_size=40), st.integers(1, 5), st.integers(0, 20), st.integers(0, 20))
def test_a_cut_goes_on_for_hits_that_are_shown_until_there_are_enough(
    groups, per_group, depth, wanted
):
    hits = hits_of(groups)
    kept, shown = cut_grouped(hits, per_group, depth, wanted)
    ids = [hit.doc_id for hit in kept]
    above = [hit.doc_id for hit in hits[:depth]]
    left = [hit.doc_id for hit in grouped(hits, per_group)]
    above_left = [doc_id for doc_id in left if doc_id in above]
    more = left[len(above_left) : max(wanted, len(above_left))]
    assert ids == above + more
    assert shown == len(above_left) + len(more) == len(grouped(kept, per_group))
    assert [hit.rank for hit in kept] == list(range(1, len(kept) + 1))


def test_groups_are_values_of_the_attribute_false_and_zero_included():
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for value in ("red", "", 0, 0.0, False, moment):
        held = {"d1": {"x": value}, "d2": {"y": value}}
        found = with_groups(hits_of([None] * 3), held, "x")
        assert [hit.group for hit in found] == [value, None, None]


@pytest.mark.parametrize("name", ["color", "tags"])
def test_what_cannot_be_grouped_by_is_refused(name):
    with pytest.raises(InvalidFieldError) as error:
        check_grouping(Grouping(name), SCHEMA)
    assert error.value.field == "grouping.attribute"


def test_every_other_attribute_can_be():
    for attribute in SCHEMA.attributes:
        if attribute.name != "tags":
            check_grouping(Grouping(attribute.name), SCHEMA)

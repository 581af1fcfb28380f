"""Deleted documents that are passed over, against a plain dictionary of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.recall.embedded.hidden import Hidden

steps = st.lists(
    st.one_of(
        st.tuples(st.just("hide"), st.integers(1, 20)),
        st.tuples(st.just("index"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(steps)
def test_what_the_index_lacks_is_hidden_and_nothing_that_was_never_deleted(steps):
    hidden, lacking, ordinal, sequence = Hidden(), {}, 0, 0
    for step, number in steps:
        if step == "hide":
            ordinals = list(range(ordinal, 2 * number + ordinal, 2))
            ordinal, sequence = ordinal + 2 * number, sequence + number
            before = hidden
            known = [each for each in range(ordinal) if each in before]
            hidden = hidden.adding(ordinals, sequence)
            lacking |= dict.fromkeys(ordinals, sequence)
            assert known == [each for each in range(ordinal) if each in before]
        else:
            watermark = max(0, sequence - number)
            hidden = hidden.above(watermark)
            lacking = {o: s for o, s in lacking.items() if s > watermark}
        assert all(each in hidden for each in lacking)
        assert not any(each in hidden for each in range(1, ordinal, 2))
    assert not hidden.above(sequence)


def test_few_batches_hold_many_writes_and_each_copies_little():
    hidden, copied = Hidden(), 0
    for number in range(5_000):
        before = set(map(id, hidden.batches))
        hidden = hidden.adding([number], number)
        copied += sum(len(b.ordinals) for b in hidden.batches if id(b) not in before)
        assert len(hidden.batches) <= 13  # log2 of how many there are
    assert copied < 13 * 5_000
    assert all(number in hidden for number in range(5_000))

"""How values of attributes are written down."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from sidecar.storage.rows import from_microseconds, to_microseconds, to_row_values


@given(st.datetimes(timezones=st.just(UTC)))
def test_timestamps_keep_their_microseconds(moment: datetime):
    assert from_microseconds(to_microseconds(moment)) == moment
    assert to_microseconds(moment.replace(tzinfo=None)) == to_microseconds(moment)
    assert to_row_values(moment) == [to_microseconds(moment)]


def test_row_values():
    assert to_row_values(("b", "a", "b")) == ["a", "b"]
    assert to_row_values(True) == [1]
    assert str(to_row_values(-0.0)[0]) == "0.0"

"""Values of an index that others write, as attributes that a reply can have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sidecar.recall.opensearch.existing import MappedLayout, to_attribute
from sidecar.service.messages.filters import from_attribute
from sidecar.types import AttributeField, AttributeType, Backend, FieldMapping, Schema, TextField

TEN = datetime(2024, 5, 1, 10, tzinfo=UTC)
TIMESTAMP, INTEGER = AttributeType.TIMESTAMP, AttributeType.INTEGER


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        ("2024-05-01", TIMESTAMP, TEN.replace(hour=0)),
        ("2024-05-01T10:00:00", TIMESTAMP, TEN),
        ("2024-05-01T12:00:00+02:00", TIMESTAMP, TEN),
        (1_714_557_600_000, TIMESTAMP, TEN),
        (10**15, TIMESTAMP, None),
        (-(10**18), TIMESTAMP, None),
        (10**400, TIMESTAMP, None),
        ("0001-01-01T00:00:00+05:00", TIMESTAMP, None),
        ("soon", TIMESTAMP, None),
        (2**63 - 1, INTEGER, 2**63 - 1),
        (-(2**63), INTEGER, -(2**63)),
        (2**63, INTEGER, None),
        (2**64 - 1, INTEGER, None),
    ],
)
def test_what_no_attribute_can_be_is_absent_and_a_date_without_a_zone_is_in_utc(
    value: object, kind: AttributeType, wanted: object
):
    read = to_attribute(value, kind)
    assert read == wanted
    if read is not None:
        message = from_attribute(read)
        if isinstance(wanted, datetime):
            assert message.timestamp_value.ToDatetime(UTC) == wanted


def test_values_that_are_counted_likewise():
    attributes = (AttributeField("seen", TIMESTAMP), AttributeField("stock", INTEGER))
    mapping = tuple(FieldMapping(name, name) for name in ("text", "seen", "stock"))
    layout = MappedLayout(Schema((TextField("text"),), attributes), Backend("b", "i", mapping))
    assert layout.value("seen", 1_714_557_600_000) == TEN
    assert layout.value("seen", 1_714_557_600_000.5) == TEN.replace(microsecond=500)
    assert layout.value("seen", 1e15) is None
    assert layout.value("stock", 7) == 7
    assert layout.value("stock", 2**64 - 1) is None

"""Filters as Milvus expressions: what milvus-lite finds by them against a plain predicate."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import HealthCheck, given, settings
from recalling import SCHEMA, VALUES, a_document, filters, matches

from sidecar.recall.milvus.expressions import quoted, to_expression
from sidecar.types import AllOf, AnyOf, Equals, Filter, NoneOf, OneOf, Range

DOCUMENTS = 120
TYPES = SCHEMA.attribute_types()
LEAST = -(2**63)


@pytest.fixture(scope="module", params=["in memory", "half on disk"])
def filled(collections, request):
    """Documents with all sorts of attributes, and these."""
    collection = collections()
    rng = np.random.default_rng(7)
    documents = []
    for number in range(DOCUMENTS):
        present = [name for name in VALUES if rng.random() < 0.7]
        values = {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in present}
        documents.append(a_document(number, **values))
    collection.upsert(documents[:60])
    if request.param == "half on disk":  # which Milvus looks at in another way
        collection._index._connection.call("flush", collection._index.name)
    collection.upsert(documents[60:])
    values = {document.doc_id: dict(document.attributes) for document in documents}
    return collection, values, request.param == "half on disk"


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(filter=filters)
def test_both_legs_recall_just_what_matches(filled, filter: Filter):
    collection, values, is_on_disk = filled
    wanted = {doc_id for doc_id, held in values.items() if matches(filter, held)}
    lexical = collection.lexical("common", filter, DOCUMENTS)
    dense = collection.dense(FakeBiEncoder().encode_queries(["common"])[0], filter, DOCUMENTS)
    assert {recalled.doc_id for recalled in lexical.recalled} == wanted
    # The graph of what is on disk does not reach every one of so many like vectors.
    assert {recalled.doc_id for recalled in dense.recalled} <= wanted
    assert is_on_disk or len(dense.recalled) == len(wanted)


@pytest.mark.parametrize(
    "text",
    ["a", 'say "x"', "back\\slash", "\\", '\\"', "new\nline\r\t", "x\x00y", "röd 手机 🙂", "$meta"],
)
def test_a_string_is_found_by_itself_alone(collections, text: str):
    collection = collections()
    collection.upsert([a_document(1, colour=text), a_document(2, colour="other"), a_document(3)])
    found = collection.lexical("common", Equals("colour", text), 10)
    assert [each.doc_id for each in found.recalled] == ["d0001"]
    others = collection.lexical("common", NoneOf((Equals("colour", text),)), 10)
    assert {each.doc_id for each in others.recalled} == {"d0002", "d0003"}


def test_no_operand_leaves_its_quotes():
    assert quoted('" or sequence >= 0 or "') == '"\\" or sequence >= 0 or \\""'
    assert quoted('\\" or 1') == '"\\\\\\" or 1"'


@pytest.mark.parametrize(
    ("filter", "expression"),
    [
        (Equals("year", LEAST), f"(attribute_year < {LEAST + 1})"),
        (OneOf("year", (1, LEAST)), f"(attribute_year < {LEAST + 1} or attribute_year in [1])"),
        (Range("year", upper=LEAST), f"(attribute_year < {LEAST + 1})"),
        (Range("year", lower=LEAST), "(attribute_year is not null)"),
        (Range("year", upper=LEAST, upper_inclusive=False), "(sequence < 0)"),
        (Range("year", lower=2**63 - 1, lower_inclusive=False), "(sequence < 0)"),
        (
            NoneOf((AllOf((Equals("new", True), AnyOf((Equals("price", -0.0),)))),)),
            "(((attribute_new is null or not (attribute_new in [true])) or "
            "((attribute_price is null or not (attribute_price in [0.0])))))",
        ),
    ],
)
def test_no_literal_that_milvus_cannot_read_and_no_negation_that_drops_nulls(filter, expression):
    # Milvus' parser reads 9223372036854775808 before it sees the sign, and refuses it.
    assert to_expression(filter, TYPES) == expression


def test_the_largest_filters_are_answered(filled):
    collection, values, _ = filled
    most = AnyOf((Equals("new", True),) * 255)
    deep: Filter = Equals("new", True)
    for _ in range(15):
        deep = NoneOf((deep,))
    long = AllOf((OneOf("year", tuple(range(1024))),) * 40)
    for filter in (most, deep, long):
        wanted = {doc_id for doc_id, held in values.items() if matches(filter, held)}
        found = collection.lexical("common", filter, DOCUMENTS)
        assert {recalled.doc_id for recalled in found.recalled} == wanted

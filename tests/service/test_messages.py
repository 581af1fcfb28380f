"""protobuf <-> sidecar.types: every field, and presence where zero and absent differ."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import byte_count, shorten, under
from sidecar.service.messages.document import from_document, to_document
from sidecar.service.messages.filters import from_attribute, to_attribute, to_filter
from sidecar.service.messages.order import to_boosts
from sidecar.service.messages.ranking import from_ranking, to_options
from sidecar.service.messages.rerank import to_duration, to_rerank_query
from sidecar.service.texts import Texts
from sidecar.types import (
    AllOf,
    AnyOf,
    Attribute,
    Candidate,
    Document,
    Equals,
    Hit,
    HitState,
    LongPassages,
    NoneOf,
    OneOf,
    Range,
    Ranking,
    RankingOptions,
    RequestClass,
    RerankQuery,
    Stage,
    StageReason,
    StageReport,
    StageScore,
    StageState,
    UnscoredReason,
    Visitor,
)
from sidecar.v1 import ranking_pb2
from sidecar.v1.filter_pb2 import (
    AttributeValue,
    EqualsFilter,
    Filter,
    FilterList,
    InFilter,
    RangeFilter,
)
from sidecar.v1.rerank_pb2 import Candidate as CandidateMessage
from sidecar.v1.rerank_pb2 import RerankRequest
from sidecar.v1.search_pb2 import Boost

HITS = (
    Hit(
        "a",
        1,
        Stage.FIRST_RERANK,
        0.0,
        HitState.TRUNCATED,
        token_count=0,
        truncated=False,
        logit=0.0,
        probability=0.0,
        scores=(
            StageScore(Stage.INPUT, 2),
            StageScore(Stage.FIRST_RERANK, 1, 0.0, -3.5),
        ),
        boost_factor=0.0,
        group=0,
    ),
    Hit("b", 2, Stage.INPUT, None, HitState.UNSCORED, UnscoredReason.EMPTY_TEXT),
)
REPORTS = (
    StageReport(Stage.INPUT, StageState.COMPLETE, candidates_in=0),
    StageReport(
        Stage.FIRST_RERANK,
        StageState.PARTIAL,
        StageReason.MODEL_UNAVAILABLE,
        "NaN",
        "small",
        "r1",
        None,
        7,
        1.5,
        "t1",
        3,
        0.5,
        0.75,
    ),
)
ADDED_AFTERWARDS = {"highlights"}
RANKING = Ranking(
    *(3, Stage.FIRST_RERANK, True, True, HITS, REPORTS),
    variant="canary",
    swapped_rank=1,
    teams=("canary", "production"),
)


def test_a_ranking_is_written_field_by_field() -> None:
    message = from_ranking(RANKING, RankingOptions(explain=True), "token", {"a": {"title": "t"}})
    expected = ranking_pb2.Ranking(
        revision=3,
        stage=5,
        final=True,
        degraded=True,
        hits=[
            ranking_pb2.Hit(
                doc_id="a",
                rank=1,
                stage=5,
                score=0.0,
                state=2,
                token_count=0,
                truncated=False,
                logit=0.0,
                probability=0.0,
                fields={"title": "t"},
                explanation=[
                    ranking_pb2.StageScore(stage=1, rank=2),
                    ranking_pb2.StageScore(stage=5, rank=1, score=0.0, model_score=-3.5),
                ],
                boost_factor=0.0,
                group=AttributeValue(integer_value=0),
            ),
            ranking_pb2.Hit(doc_id="b", rank=2, stage=1, state=3, unscored_reason=2),
        ],
        stages=[
            ranking_pb2.StageReport(stage=1, state=1, candidates_in=0),
            ranking_pb2.StageReport(
                stage=5,
                state=4,
                reason=10,
                detail="NaN",
                model="small",
                model_revision="r1",
                candidates_out=7,
                elapsed_milliseconds=1.5,
                template_digest="t1",
                candidates_cached=3,
                queue_milliseconds=0.5,
                answered_share=0.75,
            ),
        ],
        ranking_token="token",
        variant="canary",
        swapped_rank=1,
        interleaved=True,
    )
    assert message == expected
    assert fields_of(message) == set(message.DESCRIPTOR.fields_by_name)
    for written, absent in (
        (message.hits[0], {"unscored_reason"} | ADDED_AFTERWARDS),
        (message.stages[1], {"candidates_in"}),
    ):
        assert fields_of(written) == set(written.DESCRIPTOR.fields_by_name) - absent


def fields_of(message: Message) -> set[str]:
    return {field.name for field, _ in message.ListFields()}


def test_absent_is_not_zero() -> None:
    first, second = from_ranking(RANKING, RankingOptions()).hits
    assert first.HasField("score")
    assert first.HasField("token_count")
    assert not first.explanation
    for name in ("score", "token_count", "truncated", "logit", "probability"):
        assert first.HasField(name)
        assert not second.HasField(name)


def test_the_edge_cuts_to_top_k() -> None:
    assert [hit.doc_id for hit in from_ranking(RANKING, RankingOptions(top_k=1)).hits] == ["a"]


def test_options_keep_absent_apart_from_zero() -> None:
    stages = tuple(Stage)
    assert to_options(ranking_pb2.RankingOptions(), "options", stages) == RankingOptions()
    message = ranking_pb2.RankingOptions(
        top_k=7,
        last_stage=ranking_pb2.STAGE_FUSED,
        first_rerank_depth=0,
        second_rerank_depth=9,
        explain=True,
        language="zh",
        minimum_stage=ranking_pb2.STAGE_INPUT,
        long_passages=ranking_pb2.LONG_PASSAGES_REJECT,
        request_class=ranking_pb2.REQUEST_CLASS_OFFLINE,
        cache=ranking_pb2.CACHE_POLICY_BYPASS,
        visitor=ranking_pb2.Visitor(session_id="s", user_id="u"),
        unlogged=True,
    )
    assert fields_of(message) == set(message.DESCRIPTOR.fields_by_name)
    assert to_options(message, "options", stages) == RankingOptions(
        top_k=7,
        last_stage=Stage.FUSED,
        first_rerank_depth=0,
        second_rerank_depth=9,
        explain=True,
        language="zh",
        minimum_stage=Stage.INPUT,
        long_passages=LongPassages.REJECT,
        request_class=RequestClass.OFFLINE,
        use_cache=False,
        visitor=Visitor("s", "u"),
        unlogged=True,
    )


@pytest.mark.parametrize(
    ("enum", "name", "field", "unset"),
    [
        (ranking_pb2.LongPassages, "long_passages", "long_passages", None),
        (ranking_pb2.RequestClass, "request_class", "request_class", RequestClass.INTERACTIVE),
        (ranking_pb2.CachePolicy, "cache", "use_cache", True),
    ],
)
def test_every_value_of_an_enum_is_read_and_no_other(
    enum: EnumTypeWrapper, name: str, field: str, unset: object
) -> None:
    read = {}
    for value in enum.values():
        message = ranking_pb2.RankingOptions(**{name: value})
        read[value] = getattr(to_options(message, "options", tuple(Stage)), field)
    assert read[0] == unset
    assert len({read[value] for value in enum.values()[1:]}) == len(read) - 1
    unknown = ranking_pb2.RankingOptions(**{name: 99})
    with pytest.raises(InvalidFieldError, match=rf"options\.{name}: is 99: give one of "):
        to_options(unknown, "options", tuple(Stage))


def test_the_minimum_stage_is_at_most_the_last() -> None:
    for last, minimum in itertools.product(Stage, Stage):
        message = ranking_pb2.RankingOptions(last_stage=last.value, minimum_stage=minimum.value)
        if minimum <= last:
            assert to_options(message, "options", tuple(Stage)).minimum_stage is minimum
        else:
            with pytest.raises(InvalidFieldError, match=r"options\.minimum_stage: is STAGE_"):
                to_options(message, "options", tuple(Stage))


@pytest.mark.parametrize("language", ["", "EN", "eng", "e", "en\n", "ён"])
def test_a_language_is_two_letters(language: str) -> None:
    message = ranking_pb2.RankingOptions(language=language)
    with pytest.raises(InvalidFieldError, match=r"options\.language"):
        to_options(message, "options", tuple(Stage))


def test_a_candidate_list_is_read_field_by_field() -> None:
    message = RerankRequest(
        query="tea",
        candidates=[
            CandidateMessage(doc_id="a", title="T", text="x", score=0.0),
            CandidateMessage(doc_id="b", title=" ", text="y", score=-1.0),
        ],
        lexical_signal=True,
    )
    assert to_rerank_query(message, Texts(0), "web") == RerankQuery(
        "tea",
        (Candidate("a", "T\nx", 0.0), Candidate("b", "y", -1.0)),
        RankingOptions(),
        True,
        "web",
    )


def value(number: int) -> AttributeValue:
    return AttributeValue(integer_value=number)


def test_every_kind_of_filter_is_read() -> None:
    equals = Filter(equals=EqualsFilter(attribute="n", value=value(0)))
    within = Filter(range=RangeFilter(attribute="n", more_than=value(1), at_most=value(2)))
    below = Filter(range=RangeFilter(attribute="n", less_than=value(2)))
    one_of = Filter(one_of=InFilter(attribute="n", values=[value(1), value(2)]))
    message = Filter(
        all_of=FilterList(
            filters=[
                Filter(any_of=FilterList(filters=[equals, within])),
                Filter(none_of=FilterList(filters=[one_of, below])),
            ]
        )
    )
    assert to_filter(message, "filter") == AllOf(
        (
            AnyOf((Equals("n", 0), Range("n", 1, 2, lower_inclusive=False))),
            NoneOf((OneOf("n", (1, 2)), Range("n", None, 2, upper_inclusive=False))),
        )
    )
    kinds = Filter.DESCRIPTOR.oneofs_by_name["condition"].fields
    assert {field.name for field in kinds} == {
        "all_of",
        "any_of",
        "none_of",
        "equals",
        "one_of",
        "range",
    }


scalars = (
    st.text(max_size=20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
)
attributes = scalars | st.lists(st.text(max_size=5), max_size=4).map(tuple)


@given(attributes)
def test_an_attribute_comes_back_as_it_went(attribute: Attribute) -> None:
    found = to_attribute(from_attribute(attribute), "attribute")
    assert found == attribute
    assert type(found) is type(attribute)


@given(st.dictionaries(st.text(max_size=8), attributes, max_size=4))
def test_a_document_comes_back_as_it_went(values: dict[str, Attribute]) -> None:
    document = Document("a", {"title": "t", "text": ""}, values, (0.5, -0.25))
    message = from_document(document)
    assert to_document(message, "documents[0]") == document
    assert fields_of(message) >= {"doc_id", "fields", "vector"}


def test_every_field_of_a_document_is_translated() -> None:
    message = from_document(Document("a", {"t": "x"}, {"n": 1}, (1.0,)))
    kinds: list[FieldDescriptor] = message.DESCRIPTOR.fields
    not_served_yet = {"version", "expected_version"}
    assert fields_of(message) == {field.name for field in kinds} - not_served_yet


@given(st.text(), st.integers(4, 40))
def test_a_text_is_shortened_to_so_many_bytes(text: str, most: int) -> None:
    short = shorten(text, most)
    assert byte_count(short) <= most
    assert short == text or short.endswith("…")


@given(st.floats(0, 1e9))
def test_a_duration_is_exact_to_the_nanosecond(seconds: float) -> None:
    duration = to_duration(seconds)
    assert duration.seconds + duration.nanos / 1e9 == pytest.approx(seconds, abs=1e-6)
    assert 0 <= duration.nanos < 1_000_000_000


def test_a_field_within_a_message_is_named_with_its_path() -> None:
    with pytest.raises(TooLargeError) as error, under("search"):
        raise TooLargeError("query", "is long", limit="8192")
    assert error.value.field == "search.query"
    assert error.value.description == "is long"
    assert error.value.metadata == {"field": "search.query", "limit": "8192"}


@pytest.mark.parametrize(("boosts", "lists", "values"), [(32, 9, 1), (5, 1, 1024)])
def test_conditions_and_values_of_all_boosts_are_counted_together(boosts, lists, values):
    operands = [AttributeValue(integer_value=value) for value in range(values)]
    of_years = Filter(one_of=InFilter(attribute="year", values=operands))
    boost = Boost(filter=Filter(any_of=FilterList(filters=[of_years] * lists)), factor=2.0)
    with pytest.raises(TooLargeError) as error:
        to_boosts([boost] * boosts, "boosts")
    assert error.value.field.startswith("boosts[")
    assert len(to_boosts([boost] * (boosts * 3 // 4), "boosts")) == boosts * 3 // 4

"""Boosts, decay, grouping and diversity over real gRPC, recomputed from what answers explain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeBiEncoder
from google.protobuf.timestamp_pb2 import Timestamp
from serving import Served, refused, serving

from sidecar.v1.collection_pb2 import AttributeField, CreateCollectionRequest, Schema, TextField
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.filter_pb2 import (
    ATTRIBUTE_TYPE_INTEGER,
    ATTRIBUTE_TYPE_STRING,
    ATTRIBUTE_TYPE_STRING_LIST,
    ATTRIBUTE_TYPE_TIMESTAMP,
    AttributeValue,
    EqualsFilter,
    Filter,
    RangeFilter,
)
from sidecar.v1.ranking_pb2 import STAGE_FIRST_RERANK, STAGE_FUSED, Hit, Ranking, RankingOptions
from sidecar.v1.search_pb2 import (
    Boost,
    Decay,
    Diversity,
    Grouping,
    SearchRequest,
    SearchStreamRequest,
)

WORDS = ["green", "tea", "paint", "black", "japan"]
COUNT = 60
FUSED = RankingOptions(last_stage=STAGE_FUSED, top_k=COUNT, explain=True)


def number(value: int) -> AttributeValue:
    return AttributeValue(integer_value=value)


def day(value: int) -> AttributeValue:
    return AttributeValue(timestamp_value=Timestamp(seconds=86_400 * value))


def text_of(index: int) -> str:
    return " ".join(WORDS[(index >> bit) % len(WORDS)] for bit in range(4)) + " tea"


def document(index: int) -> Document:
    attributes = {"year": number(2000 + index % 7), "seen": day(index)}
    if index % 5:
        attributes["shop"] = AttributeValue(string_value=f"s{index % 4}")
    return Document(doc_id=f"d{index:02}", fields={"text": text_of(index)}, attributes=attributes)


async def fill(served: Served) -> None:
    kinds = {
        "year": ATTRIBUTE_TYPE_INTEGER,
        "seen": ATTRIBUTE_TYPE_TIMESTAMP,
        "shop": ATTRIBUTE_TYPE_STRING,
        "tags": ATTRIBUTE_TYPE_STRING_LIST,
    }
    schema = Schema(
        text_fields=[TextField(name="text")],
        attributes=[AttributeField(name=name, type=kind) for name, kind in kinds.items()],
    )
    await served.collections.CreateCollection(CreateCollectionRequest(name="docs", schema=schema))
    await write(served, *(document(index) for index in range(COUNT)))


async def write(served: Served, *documents: Document) -> None:
    request = UpsertDocumentsRequest(
        collection="docs", documents=documents, acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE
    )
    assert [one async for one in served.documents.UpsertDocuments(iter([request]))]


async def search(served: Served, **fields: Any) -> Ranking:
    given = {"collection": "docs", "query": "green tea", "options": FUSED} | fields
    return (await served.search.Search(SearchRequest(**given))).ranking


def year_is(value: int) -> Filter:
    return Filter(equals=EqualsFilter(attribute="year", value=number(value)))


def fused_score(hit: Hit) -> float:
    return next(one.score for one in hit.explanation if one.stage == STAGE_FUSED)


async def test_boosts_and_decay_multiply_the_fused_scores(tmp_path: Path) -> None:
    recent = Filter(range=RangeFilter(attribute="seen", at_least=day(30)))
    boosts = [Boost(filter=year_is(2003), factor=3.0), Boost(filter=recent, factor=0.5)]
    decay = Decay(attribute="seen", origin=day(20), offset=86_400, half_life=10 * 86_400, floor=0.3)
    async with serving(tmp_path) as served:
        await fill(served)
        plain = await search(served)
        boosted = await search(served, boosts=boosts, decay=decay)
    assert not any(hit.HasField("boost_factor") for hit in plain.hits)
    scores = {hit.doc_id: hit.score for hit in plain.hits}
    wanted = {}
    for doc_id, score in scores.items():
        index = int(doc_id[1:])
        beyond = max(0, abs(index - 20) - 1)
        factor = max(0.3, 2 ** -(beyond / 10))
        factor *= (3.0 if index % 7 == 3 else 1.0) * (0.5 if index >= 30 else 1.0)
        wanted[doc_id] = (score * factor, factor)
    assert {hit.doc_id for hit in boosted.hits} == set(wanted)
    for hit in boosted.hits:
        score, factor = wanted[hit.doc_id]
        assert (hit.score, hit.boost_factor) == pytest.approx((score, factor))
        assert fused_score(hit) == hit.score
    order = [hit.doc_id for hit in boosted.hits]
    assert order == sorted(order, key=lambda doc_id: (-wanted[doc_id][0], doc_id))
    assert order != [hit.doc_id for hit in plain.hits]


async def test_what_is_boosted_comes_to_the_rerankers_from_below_their_depth(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        last = (await search(served)).hits[-1].doc_id
        only = Filter(range=RangeFilter(attribute="seen", at_least=day(int(last[1:]))))
        until = Filter(range=RangeFilter(attribute="seen", more_than=day(int(last[1:]))))
        boosts = [Boost(filter=only, factor=16.0), Boost(filter=until, factor=1 / 16)]
        options = RankingOptions(
            last_stage=STAGE_FIRST_RERANK, top_k=COUNT, first_rerank_depth=3, explain=True
        )
        plain = await search(served, options=options)
        boosted = await search(served, options=options, boosts=boosts)
    hit = next(one for one in boosted.hits if one.doc_id == last)
    assert next(one for one in plain.hits if one.doc_id == last).stage == STAGE_FUSED
    assert hit.stage == STAGE_FIRST_RERANK
    assert hit.boost_factor == 16.0
    assert next(one.rank for one in hit.explanation if one.stage == STAGE_FUSED) == 1


def standardised(values: list[float]) -> np.ndarray:
    array = np.array(values)
    return (array - array.mean()) / array.std() if np.ptp(array) else np.zeros(len(array))


async def test_the_boosted_score_is_what_a_rerankers_is_combined_with(tmp_path: Path) -> None:
    options = RankingOptions(
        last_stage=STAGE_FIRST_RERANK, top_k=COUNT, first_rerank_depth=20, explain=True
    )
    boosts = [Boost(filter=year_is(2003), factor=4.0)]
    async with serving(tmp_path) as served:
        await fill(served)
        ranking = await search(served, options=options, boosts=boosts)
    head = [hit for hit in ranking.hits if hit.stage == STAGE_FIRST_RERANK]
    assert len(head) == 20
    models = [hit.explanation[-1].model_score for hit in head]
    earlier = [fused_score(hit) for hit in head]
    wanted = 0.5 * standardised(models) + 0.5 * standardised(earlier)  # the fake's weight
    assert [hit.score for hit in head] == pytest.approx(wanted.tolist(), abs=1e-9)


async def test_recency_is_from_the_time_of_the_search(tmp_path: Path) -> None:
    decay = Decay(attribute="seen", half_life=20_000 * 86_400, missing=0.25)
    before = time.time()
    async with serving(tmp_path) as served:
        await fill(served)
        await write(served, Document(doc_id="d60", fields={"text": "green tea"}))
        options = RankingOptions(last_stage=STAGE_FUSED, top_k=COUNT + 1)
        ranking = await search(served, decay=decay, options=options)
    after = time.time()
    for hit in ranking.hits:
        if hit.doc_id == "d60":
            assert hit.boost_factor == 0.25
            continue
        days = [moment / 86_400 - int(hit.doc_id[1:]) for moment in (before, after)]
        assert 2 ** -(days[1] / 20_000) <= hit.boost_factor <= 2 ** -(days[0] / 20_000)
    assert any(hit.doc_id == "d60" for hit in ranking.hits)


async def test_grouping_keeps_few_of_each_value_and_fills_up_from_below(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        plain = await search(served)
        options = RankingOptions(last_stage=STAGE_FUSED, top_k=12)
        grouped = await search(
            served, options=options, grouping=Grouping(attribute="shop", per_group=2)
        )
    by_shop: dict[str, list[str]] = {}
    wanted = []
    for hit in plain.hits:
        shop = document(int(hit.doc_id[1:])).attributes.get("shop")
        if shop is None:
            wanted.append(hit.doc_id)
            continue
        of_shop = by_shop.setdefault(shop.string_value, [])
        if len(of_shop) < 2:
            of_shop.append(hit.doc_id)
            wanted.append(hit.doc_id)
    assert [hit.doc_id for hit in grouped.hits] == wanted[:12]
    assert [hit.rank for hit in grouped.hits] == list(range(1, 13))
    for hit in grouped.hits:
        attributes = document(int(hit.doc_id[1:])).attributes
        assert hit.HasField("group") == ("shop" in attributes)
        assert hit.group.string_value == attributes["shop"].string_value


async def test_diversity_is_by_the_vectors_of_the_collection(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        plain = [hit.doc_id for hit in (await search(served)).hits]
        varied = [
            hit.doc_id
            for hit in (await search(served, diversity=Diversity(relevance=0.4, window=20))).hits
        ]
    head = plain[:20]
    texts = [text_of(int(doc_id[1:])) for doc_id in head]
    rows = FakeBiEncoder().encode_passages(texts).astype(np.float64)
    chosen: list[int] = []
    for place in range(20):
        left = [row for row in range(20) if row not in chosen]

        def value(row: int) -> float:
            near = max((float(rows[row] @ rows[one]) for one in chosen), default=0.0)
            return 0.4 * (1 - row / 19) - 0.6 * near

        taken = head.index(varied[place])
        assert value(taken) == pytest.approx(max(value(row) for row in left), abs=1e-5)
        chosen.append(taken)
    assert varied[20:] == plain[20:]
    assert varied != plain


async def test_every_frame_is_grouped_and_the_last_is_the_answer(tmp_path: Path) -> None:
    request = SearchRequest(
        collection="docs",
        query="green tea",
        options=RankingOptions(top_k=8, explain=True),
        boosts=[Boost(filter=year_is(2003), factor=2.0)],
        grouping=Grouping(attribute="shop"),
        diversity=Diversity(),
    )
    async with serving(tmp_path) as served:
        await fill(served)
        call = served.search.SearchStream(SearchStreamRequest(search=request))
        frames = [reply.ranking async for reply in call]
        answer = (await served.search.Search(request)).ranking
    assert len(frames) == 3
    assert frames[-1].hits == answer.hits
    for frame in frames:
        shops = [hit.group.string_value for hit in frame.hits if hit.HasField("group")]
        assert len(shops) == len(set(shops))
        assert [hit.rank for hit in frame.hits] == list(range(1, 9))
        assert all(hit.HasField("boost_factor") for hit in frame.hits)


SHOP = Filter(equals=EqualsFilter(attribute="shop", value=number(1)))
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "33 boosts": ({"boosts": [Boost(filter=year_is(1), factor=2.0)] * 33}, "boosts"),
    "factor 0": ({"boosts": [Boost(filter=year_is(1))]}, "boosts[0].factor"),
    "factor 17": ({"boosts": [Boost(filter=year_is(1), factor=17)]}, "boosts[0].factor"),
    "factor NaN": ({"boosts": [Boost(filter=year_is(1), factor=np.nan)]}, "boosts[0].factor"),
    "no filter": ({"boosts": [Boost(factor=2.0)]}, "boosts[0].filter"),
    "operand": ({"boosts": [Boost(filter=SHOP, factor=2.0)]}, "boosts[0].filter.equals.value"),
    "decay of nothing": ({"decay": Decay(half_life=1.0)}, "decay.attribute"),
    "decay of strings": ({"decay": Decay(attribute="shop", half_life=1.0)}, "decay.attribute"),
    "no half-life": ({"decay": Decay(attribute="seen")}, "decay.half_life"),
    "endless": ({"decay": Decay(attribute="seen", half_life=np.inf)}, "decay.half_life"),
    "offset": ({"decay": Decay(attribute="seen", half_life=1, offset=-1)}, "decay.offset"),
    "floor": ({"decay": Decay(attribute="seen", half_life=1, floor=1.1)}, "decay.floor"),
    "missing": ({"decay": Decay(attribute="seen", half_life=1, missing=-0.1)}, "decay.missing"),
    "no origin": ({"decay": Decay(attribute="year", half_life=1)}, "decay.origin"),
    "other origin": (
        {"decay": Decay(attribute="year", half_life=1, origin=day(1))},
        "decay.origin",
    ),
    "a word as origin": (
        {"decay": Decay(attribute="year", half_life=1, origin=AttributeValue(string_value="1"))},
        "decay.origin",
    ),
    "group of nothing": ({"grouping": Grouping()}, "grouping.attribute"),
    "group by lists": ({"grouping": Grouping(attribute="tags")}, "grouping.attribute"),
    "none of a group": (
        {"grouping": Grouping(attribute="shop", per_group=0)},
        "grouping.per_group",
    ),
    "relevance": ({"diversity": Diversity(relevance=1.5)}, "diversity.relevance"),
    "window": ({"diversity": Diversity(window=1)}, "diversity.window"),
    "wide window": ({"diversity": Diversity(window=201)}, "diversity.window"),
}


async def test_what_cannot_be_names_its_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        for what, (fields, field) in BAD.items():
            with refused() as refusal:
                await search(served, **fields)
            assert refusal.field == field, what

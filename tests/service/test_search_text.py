"""Field weights and highlights over real gRPC."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import CONFIG, Served, refused, serving, with_server

from sidecar.v1.collection_pb2 import (
    ANALYZER_CHINESE,
    CreateCollectionRequest,
    Schema,
    TextField,
)
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.ranking_pb2 import STAGE_FUSED, STAGE_LEXICAL, Hit, RankingOptions
from sidecar.v1.search_pb2 import Highlighting, Page, SearchRequest, SearchStreamRequest

FILLER = "Nothing of note happened here on that day. " * 10
TEXTS = {
    "a": {"title": "Green tea", "text": f"{FILLER}The ＧＲＥＥＮ tea ﬁlters well. {FILLER}"},
    "b": {"title": "Paint", "text": "Green paint, green walls, green doors."},
    "c": {"title": "Black tea", "text": "It is black.", "name": "红茶"},
}


async def fill(served: Served) -> None:
    fields = [TextField(name="title"), TextField(name="text"), TextField(name="name")]
    fields[2].analyzer = ANALYZER_CHINESE
    schema = Schema(text_fields=fields)
    await served.collections.CreateCollection(CreateCollectionRequest(name="docs", schema=schema))
    request = UpsertDocumentsRequest(
        collection="docs",
        documents=[Document(doc_id=doc_id, fields=fields) for doc_id, fields in TEXTS.items()],
        acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE,
    )
    assert [one async for one in served.documents.UpsertDocuments(iter([request]))]


def search(query: str = "green tea", **fields: Any) -> SearchRequest:
    return SearchRequest(collection="docs", query=query, **fields)


def marked(hit: Hit) -> list[tuple[str, list[str]]]:
    return [
        (one.field, [one.text[span.start : span.end] for span in one.spans])
        for one in hit.highlights
    ]


async def test_every_frame_has_highlights_of_its_hits(tmp_path: Path) -> None:
    asked = search(highlighting=Highlighting(fields=["text", "title"], fragment_characters=60))
    async with serving(tmp_path) as served:
        await fill(served)
        call = served.search.SearchStream(SearchStreamRequest(search=asked))
        frames = [reply.ranking async for reply in call]
        answer = await served.search.Search(asked)
    assert len(frames) == 3
    assert frames[-1].hits == answer.ranking.hits
    for frame in frames:
        hits = {hit.doc_id: hit for hit in frame.hits}
        assert marked(hits["a"]) == [("text", ["ＧＲＥＥＮ", "tea"]), ("title", ["Green", "tea"])]
        assert marked(hits["b"]) == [("text", ["Green", "green", "green"])]
        assert marked(hits["c"]) == [("title", ["tea"])]
        assert hits["a"].highlights[0].text.startswith("The ＧＲＥＥＮ tea ﬁlters well.")
        assert not any(hit.fields for hit in frame.hits)
        for hit in frame.hits:
            for one in hit.highlights:
                assert len(one.text) <= 60
                assert one.text in TEXTS[hit.doc_id][one.field]


async def test_highlights_and_fields_may_differ_from_page_to_page(tmp_path: Path) -> None:
    options = RankingOptions(top_k=1)
    async with serving(tmp_path) as served:
        await fill(served)
        first = await served.search.Search(search(options=options, page=Page()))
        page = Page(cursor=first.next_cursor)
        highlighting = Highlighting(fields=["text", "title", "name"])
        asked = search(
            options=options, page=page, highlighting=highlighting, return_fields=["title"]
        )
        second = await served.search.Search(asked)
    assert not first.ranking.hits[0].highlights
    (hit,) = second.ranking.hits
    assert marked(hit)
    assert hit.fields == {"title": TEXTS[hit.doc_id]["title"]}


async def test_weights_decide_which_field_finds(tmp_path: Path) -> None:
    options = RankingOptions(last_stage=STAGE_FUSED, explain=True)

    def lexical(hits: list[Hit]) -> list[str]:
        found = [
            (s.rank, h.doc_id) for h in hits for s in h.explanation if s.stage == STAGE_LEXICAL
        ]
        return [doc_id for _, doc_id in sorted(found)]

    async with serving(tmp_path) as served:
        await fill(served)
        titles = search("green", options=options, field_weights={"text": 0.0})
        texts = search("green", options=options, field_weights={"title": 0.0})
        by_title = (await served.search.Search(titles)).ranking.hits
        by_text = (await served.search.Search(texts)).ranking.hits
    assert lexical(list(by_title)) == ["a"]
    assert lexical(list(by_text)) == ["b", "a"]


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"field_weights": {"titel": 1.0}}, 'field_weights["titel"]', "is not a text field"),
        ({"field_weights": {"title": 101.0}}, 'field_weights["title"]', "is 101.0: give 0 to 100"),
        ({"field_weights": {"title": math.nan}}, 'field_weights["title"]', "is nan"),
        (
            {"field_weights": dict.fromkeys(["title", "text", "name"], 0.0)},
            "field_weights",
            "all 0",
        ),
        ({"highlighting": Highlighting()}, "highlighting.fields", "is empty"),
        ({"highlighting": Highlighting(fields=["x"] * 17)}, "highlighting.fields", "has 17 names"),
        ({"highlighting": Highlighting(fields=["text", "no"])}, "highlighting.fields[1]", "'no'"),
        (
            {"highlighting": Highlighting(fields=["text", "text"])},
            "highlighting.fields[1]",
            "is named twice",
        ),
        (
            {"highlighting": Highlighting(fields=["text"], fragments=11)},
            "highlighting.fragments",
            "is 11: give 1 to 10",
        ),
        (
            {"highlighting": Highlighting(fields=["text"], fragments=0)},
            "highlighting.fragments",
            "is 0: give 1 to 10",
        ),
        (
            {"highlighting": Highlighting(fields=["text"], fragment_characters=39)},
            "highlighting.fragment_characters",
            "is 39: give 40 to 2,000",
        ),
    ],
)
async def test_what_is_refused_names_the_field(
    tmp_path: Path, asked: dict[str, Any], field: str, message: str
) -> None:
    async with serving(tmp_path) as served:
        await fill(served)
        with refused() as caught:
            await served.search.Search(search(**asked))
    assert caught.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.field == field
    assert message in caught.message


async def test_an_answer_above_the_limit_names_what_asked_for_it(tmp_path: Path) -> None:
    asked = search(highlighting=Highlighting(fields=["text"], fragment_characters=2000))
    async with serving(tmp_path, with_server(CONFIG, max_message_bytes=1200)) as served:
        await fill(served)
        with refused() as caught:
            await served.search.Search(asked)
    assert caught.message.startswith("highlighting: would bring")

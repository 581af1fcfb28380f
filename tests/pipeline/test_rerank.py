"""A candidate list of the caller's, from its own order to the last stage."""

from __future__ import annotations

from sidecar.config import Config
from sidecar.pipeline.deadline import Deadline
from sidecar.pipeline.rerank import RerankPipeline
from sidecar.types import Candidate, Ranking, RankingOptions, RerankQuery, Stage, StageReason

CANDIDATES = (
    Candidate("cats", "cats sleep all day"),
    Candidate("dogs", "dogs bark at cats"),
    Candidate("fish", "fish swim"),
)


async def run(query: RerankQuery) -> list[Ranking]:
    pipeline = RerankPipeline(None, None, Config())
    return [ranking async for ranking in pipeline.run(query, Deadline.after(30.0))]


async def test_without_stages_the_answer_is_the_input_order():
    (only,) = await run(RerankQuery("dogs", CANDIDATES))
    assert only.stage is Stage.INPUT
    assert [hit.doc_id for hit in only.hits] == ["cats", "dogs", "fish"]
    assert [hit.score for hit in only.hits] == [None, None, None]


async def test_the_lexical_signal_moves_what_matches_up():
    (only,) = await run(RerankQuery("dogs bark", CANDIDATES, lexical_signal=True))
    assert only.stage is Stage.FUSED
    assert only.hits[0].doc_id == "dogs"
    assert [s.stage for s in only.hits[0].scores] == [Stage.INPUT, Stage.LEXICAL, Stage.FUSED]
    assert only.hits[0].scores[0].score is None
    assert [report.stage for report in only.stages[:3]] == [
        Stage.INPUT,
        Stage.LEXICAL,
        Stage.FUSED,
    ]


async def test_a_lexical_signal_without_a_match_keeps_the_order():
    (only,) = await run(RerankQuery("zebra", CANDIDATES, lexical_signal=True))
    assert [hit.doc_id for hit in only.hits] == ["cats", "dogs", "fish"]
    assert only.stages[1].reason is StageReason.NO_QUERY_TERMS


async def test_a_list_may_be_returned_in_input_order():
    scored = tuple(Candidate(c.doc_id, c.passage, float(i)) for i, c in enumerate(CANDIDATES))
    options = RankingOptions(last_stage=Stage.INPUT)
    (only,) = await run(RerankQuery("dogs", scored, options, lexical_signal=True))
    assert [hit.doc_id for hit in only.hits] == ["fish", "dogs", "cats"]
    assert only.final

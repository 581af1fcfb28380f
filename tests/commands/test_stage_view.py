"""What a ranking looks like in a terminal."""

import re

from sidecar.commands.stage_view import StageView
from sidecar.commands.terminal import Terminal, fit, text_columns
from sidecar.v1 import ranking_pb2 as pb

PLAIN = Terminal(colour=False, columns=80)
COMPLETE, SKIPPED = pb.STAGE_STATE_COMPLETE, pb.STAGE_STATE_SKIPPED


def hit(doc_id: str, rank: int, stage: int, ranks: dict[int, int], **more) -> pb.Hit:
    explanation = [pb.StageScore(stage=s, rank=r, score=1.0 / r) for s, r in ranks.items()]
    state = more.pop("state", pb.HIT_STATE_SCORED)
    return pb.Hit(
        doc_id=doc_id, rank=rank, stage=stage, state=state, explanation=explanation, **more
    )


def report(stage: int, state: int = COMPLETE, **more) -> pb.StageReport:
    return pb.StageReport(stage=stage, state=state, **more)


FUSED = pb.Ranking(
    revision=1,
    stage=pb.STAGE_FUSED,
    hits=[
        hit("a", 1, pb.STAGE_FUSED, {pb.STAGE_LEXICAL: 2, pb.STAGE_FUSED: 1}),
        hit("b", 2, pb.STAGE_FUSED, {pb.STAGE_LEXICAL: 1, pb.STAGE_DENSE: 7, pb.STAGE_FUSED: 2}),
    ],
    stages=[
        report(pb.STAGE_LEXICAL, candidates_out=2, elapsed_milliseconds=3.0),
        report(pb.STAGE_DENSE, candidates_out=1, elapsed_milliseconds=5.0),
        report(pb.STAGE_FUSED, candidates_out=2, elapsed_milliseconds=1.0),
    ],
)
RERANKED = pb.Ranking(
    revision=2,
    stage=pb.STAGE_FIRST_RERANK,
    final=True,
    hits=[
        hit("b", 1, pb.STAGE_FIRST_RERANK, {pb.STAGE_FUSED: 2, pb.STAGE_FIRST_RERANK: 1}),
        hit("a", 2, pb.STAGE_FIRST_RERANK, {pb.STAGE_FUSED: 1, pb.STAGE_FIRST_RERANK: 2}),
        hit("c", 3, pb.STAGE_FUSED, {pb.STAGE_FUSED: 3}, state=pb.HIT_STATE_UNSCORED),
    ],
    stages=[
        *FUSED.stages,
        report(pb.STAGE_FIRST_RERANK, candidates_out=2, model="small", elapsed_milliseconds=9.0),
        report(pb.STAGE_SECOND_RERANK, SKIPPED, detail="no model is configured"),
    ],
)


def test_legs_run_side_by_side_so_the_longer_one_counts() -> None:
    headline = next(iter(StageView(PLAIN, 5).lines(FUSED)))
    assert headline.endswith("6.0 ms")
    assert "BM25 2 · dense 1" in headline


def test_a_fused_hit_shows_its_ranks_in_both_legs() -> None:
    _, first, second = StageView(PLAIN, 5).lines(FUSED)
    assert re.fullmatch(r"   1 +a +BM25 2", first)
    assert re.fullmatch(r"   2 +b +BM25 1 +dense 7", second)


def test_a_later_stage_shows_what_moved_and_what_was_left_out() -> None:
    view = StageView(PLAIN, 5)
    list(view.lines(FUSED))
    left_out, headline, up, down, unscored = view.lines(RERANKED)
    assert "second-stage reranker skipped: no model is configured" in left_out
    assert "2 pairs by small" in headline
    assert re.match(r" +1 ▲1 +b .*was 2", up)
    assert re.match(r" +2 ▼1 +a .*was 1", down)
    assert re.match(r" +3 +c .*not scored", unscored)


def test_a_partial_stage_shows_its_part_and_why() -> None:
    view = StageView(PLAIN, 5)
    list(view.lines(FUSED))
    partial = pb.Ranking()
    partial.CopyFrom(RERANKED)
    second = partial.stages[-2]
    second.state, second.detail = pb.STAGE_STATE_PARTIAL, "the deadline came first"
    second.candidates_in, second.candidates_cached = 50, 1
    partial.hits[2].unscored_reason = pb.UNSCORED_REASON_DEADLINE
    left_out, headline, why, *_, unscored = view.lines(partial)
    assert "skipped" in left_out
    assert "2 of 50 pairs by small, 1 cached" in headline
    assert "first-stage reranker  partial: the deadline came first" in why
    assert re.match(r" +3 +c .*no time for it", unscored)


def test_a_repeated_ranking_is_not_shown_again() -> None:
    view = StageView(PLAIN, 5)
    list(view.lines(FUSED))
    repeated = pb.Ranking()
    repeated.CopyFrom(FUSED)
    repeated.stages.append(report(pb.STAGE_FIRST_RERANK, SKIPPED, detail="its depth is 0"))
    assert len(list(view.lines(repeated))) == 1


def test_a_hit_is_named_by_its_first_text_or_its_id() -> None:
    view = StageView(PLAIN, 5, titles={"c": "C as sent"}, title_fields=["name", "body"])
    names = [
        view._title(pb.Hit(doc_id="a", fields={"name": " ", "body": "the body"})),
        view._title(pb.Hit(doc_id="b")),
        view._title(pb.Hit(doc_id="c")),
    ]
    assert names == ["the body", "b", "C as sent"]


def test_explanations_name_every_stage() -> None:
    lines = list(StageView(PLAIN, 1, explain=True).lines(FUSED))
    assert lines[-1].strip() == "lexical #2 0.5000; fused #1 1.0000"


def test_an_explanation_has_the_probability_and_the_cut() -> None:
    scored = pb.Ranking()
    scored.CopyFrom(FUSED)
    scored.hits[0].probability, scored.hits[0].truncated, scored.hits[0].token_count = (
        0.9,
        True,
        700,
    )
    lines = list(StageView(PLAIN, 1, explain=True).lines(scored))
    assert lines[-1].endswith("relevant with probability 0.90; read in part (700 tokens)")


def test_every_line_fits_into_the_terminal() -> None:
    long = pb.Ranking()
    long.CopyFrom(FUSED)
    long.hits[0].fields["title"] = "三江 " * 60
    view = StageView(PLAIN, 5)
    assert max(text_columns(line) for line in view.lines(long)) <= 80


def test_colour_only_where_it_is_wanted() -> None:
    assert PLAIN.paint("x", "bold") == "x"
    assert Terminal(colour=True, columns=80).paint("x", "bold", "red") == "\033[1;31mx\033[0m"


def test_fit_cuts_and_pads_by_columns() -> None:
    assert fit("a  b\nc", 8) == "a b c   "
    assert fit("abcdef", 4) == "abc…"
    assert text_columns(fit("三江汇流", 6)) == 6

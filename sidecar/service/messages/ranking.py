"""ranking.proto: options in; rankings, hits and reports out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from sidecar.config import MAX_RERANK_DEPTH
from sidecar.errors import InvalidFieldError
from sidecar.service.messages.checks import MAX_TOP_K, check_bytes, check_range
from sidecar.service.messages.filters import from_attribute
from sidecar.types import (
    Hit,
    HitState,
    LongPassages,
    Ranking,
    RankingOptions,
    RequestClass,
    Stage,
    StageReason,
    StageReport,
    StageScore,
    StageState,
    UnscoredReason,
    Visitor,
)
from sidecar.v1 import ranking_pb2

MAX_VISITOR_ID_BYTES = 256
_LANGUAGE = re.compile(r"[a-z]{2}\Z")
# Values go by name: one without a namesake in the proto cannot be sent as another by its number.
_STAGES = {one: f"STAGE_{one.name}" for one in Stage}
_STAGE_STATES = {one: f"STAGE_STATE_{one.name}" for one in StageState}
_STAGE_REASONS = {one: f"STAGE_REASON_{one.name}" for one in StageReason}
_STAGE_REASONS[StageReason.NONE] = "STAGE_REASON_UNSPECIFIED"
_HIT_STATES = {one: f"HIT_STATE_{one.name}" for one in HitState}
_UNSCORED_REASONS = {one: f"UNSCORED_REASON_{one.name}" for one in UnscoredReason}
_UNSCORED_REASONS[UnscoredReason.NONE] = "UNSCORED_REASON_UNSPECIFIED"
_LONG_PASSAGES: dict[int, LongPassages | None] = {
    ranking_pb2.LONG_PASSAGES_UNSPECIFIED: None,
    **{ranking_pb2.LongPassages.Value(f"LONG_PASSAGES_{one.name}"): one for one in LongPassages},
}
_REQUEST_CLASSES: dict[int, RequestClass] = {
    ranking_pb2.REQUEST_CLASS_UNSPECIFIED: RankingOptions().request_class,
    **{ranking_pb2.RequestClass.Value(f"REQUEST_CLASS_{one.name}"): one for one in RequestClass},
}
_USE_CACHE: dict[int, bool] = {
    ranking_pb2.CACHE_POLICY_UNSPECIFIED: RankingOptions().use_cache,
    ranking_pb2.CACHE_POLICY_READ_AND_WRITE: True,
    ranking_pb2.CACHE_POLICY_BYPASS: False,
}
T = TypeVar("T")
Fields = Mapping[str, Mapping[str, str]]


def to_options(
    message: ranking_pb2.RankingOptions, field: str, last_stages: Collection[Stage]
) -> RankingOptions:
    """The options of a request that may end at one of `last_stages`."""
    last_stage = _to_last_stage(message.last_stage, f"{field}.last_stage", last_stages)
    return RankingOptions(
        top_k=_to_top_k(message, f"{field}.top_k"),
        last_stage=last_stage,
        first_rerank_depth=_to_depth(message, "first_rerank_depth", field),
        second_rerank_depth=_to_depth(message, "second_rerank_depth", field),
        explain=message.explain,
        language=_to_language(message, f"{field}.language"),
        minimum_stage=_to_minimum_stage(
            message.minimum_stage, f"{field}.minimum_stage", last_stages, last_stage
        ),
        long_passages=_to_choice(
            f"{field}.long_passages",
            ranking_pb2.LongPassages,
            message.long_passages,
            _LONG_PASSAGES,
        ),
        request_class=_to_choice(
            f"{field}.request_class",
            ranking_pb2.RequestClass,
            message.request_class,
            _REQUEST_CLASSES,
        ),
        use_cache=_to_choice(f"{field}.cache", ranking_pb2.CachePolicy, message.cache, _USE_CACHE),
        visitor=_to_visitor(message.visitor, f"{field}.visitor"),
        unlogged=message.unlogged,
    )


def _to_visitor(message: ranking_pb2.Visitor, field: str) -> Visitor:
    for name in ("session_id", "user_id"):
        check_bytes(f"{field}.{name}", getattr(message, name), MAX_VISITOR_ID_BYTES)
    return Visitor(message.session_id, message.user_id)


def _to_top_k(message: ranking_pb2.RankingOptions, field: str) -> int:
    if not message.HasField("top_k"):
        return RankingOptions().top_k
    check_range(field, message.top_k, 1, MAX_TOP_K)
    return message.top_k


def _to_depth(message: ranking_pb2.RankingOptions, name: str, field: str) -> int | None:
    if not message.HasField(name):
        return None
    depth: int = getattr(message, name)
    check_range(f"{field}.{name}", depth, 0, MAX_RERANK_DEPTH)
    return depth


def _to_last_stage(value: int, field: str, last_stages: Collection[Stage]) -> Stage:
    if value == ranking_pb2.STAGE_UNSPECIFIED:
        return RankingOptions().last_stage
    return _to_stage(value, field, last_stages)


def _to_minimum_stage(
    value: int, field: str, stages: Collection[Stage], last_stage: Stage
) -> Stage:
    if value == ranking_pb2.STAGE_UNSPECIFIED:
        return RankingOptions().minimum_stage
    stage = _to_stage(value, field, stages)
    if stage > last_stage:
        raise InvalidFieldError(
            field,
            f"is STAGE_{stage.name}, but the request ends at STAGE_{last_stage.name}: give that "
            "stage or one before it",
        )
    return stage


def _to_stage(value: int, field: str, stages: Collection[Stage]) -> Stage:
    if value not in stages:
        names = ", ".join(f"STAGE_{stage.name}" for stage in sorted(stages))
        given = ranking_pb2.Stage.Name(value) if value in ranking_pb2.Stage.values() else value
        raise InvalidFieldError(field, f"is {given}: give one of {names}")
    return Stage(value)


def _to_choice(field: str, enum: EnumTypeWrapper, value: int, choices: Mapping[int, T]) -> T:
    """What a value of an enum means. Raises InvalidFieldError for one that the proto lacks."""
    if value not in choices:
        names = ", ".join(enum.Name(number) for number in sorted(choices))
        raise InvalidFieldError(field, f"is {value}: give one of {names}")
    return choices[value]


def _to_language(message: ranking_pb2.RankingOptions, field: str) -> str | None:
    if not message.HasField("language"):
        return None
    if not _LANGUAGE.match(message.language):
        raise InvalidFieldError(field, 'is not an ISO 639-1 code: give two letters, such as "en"')
    return message.language


def from_ranking(
    ranking: Ranking, options: RankingOptions, token: str = "", fields: Fields | None = None
) -> ranking_pb2.Ranking:
    """The ranking as the caller asked for it: the first `top_k` hits, explained or not; with the
    token that names it in feedback."""
    return ranking_pb2.Ranking(
        revision=ranking.revision,
        stage=_STAGES[ranking.stage],
        final=ranking.final,
        degraded=ranking.degraded,
        hits=[
            _from_hit(hit, options.explain, (fields or {}).get(hit.doc_id))
            for hit in ranking.hits[: options.top_k]
        ],
        stages=[_from_report(report) for report in ranking.stages],
        ranking_token=token,
        variant=ranking.variant,
        swapped_rank=ranking.swapped_rank,
        interleaved=bool(ranking.teams),
    )


def _from_hit(hit: Hit, explain: bool, fields: Mapping[str, str] | None) -> ranking_pb2.Hit:
    return ranking_pb2.Hit(
        doc_id=hit.doc_id,
        rank=hit.rank,
        stage=_STAGES[hit.stage],
        score=hit.score,
        state=_HIT_STATES[hit.state],
        unscored_reason=_UNSCORED_REASONS[hit.unscored_reason],
        token_count=hit.token_count,
        fields=fields,
        explanation=[_from_score(score) for score in hit.scores] if explain else None,
        logit=hit.logit,
        probability=hit.probability,
        truncated=hit.truncated,  # type: ignore[arg-type]  # stubs have no absent booleans
        boost_factor=hit.boost_factor,
        group=None if hit.group is None else from_attribute(hit.group),
    )


def _from_score(score: StageScore) -> ranking_pb2.StageScore:
    return ranking_pb2.StageScore(
        stage=_STAGES[score.stage],
        rank=score.rank,
        score=score.score,
        model_score=score.model_score,
    )


def _from_report(report: StageReport) -> ranking_pb2.StageReport:
    return ranking_pb2.StageReport(
        stage=_STAGES[report.stage],
        state=_STAGE_STATES[report.state],
        reason=_STAGE_REASONS[report.reason],
        detail=report.detail,
        model=report.model,
        model_revision=report.model_revision,
        candidates_in=report.candidates_in,
        candidates_out=report.candidates_out,
        elapsed_milliseconds=report.elapsed_milliseconds,
        template_digest=report.template_digest,
        candidates_cached=report.candidates_cached,
        queue_milliseconds=report.queue_milliseconds,
        answered_share=report.answered_share,
    )

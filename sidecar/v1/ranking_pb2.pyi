from sidecar.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_INPUT: _ClassVar[Stage]
    STAGE_LEXICAL: _ClassVar[Stage]
    STAGE_DENSE: _ClassVar[Stage]
    STAGE_FUSED: _ClassVar[Stage]
    STAGE_FIRST_RERANK: _ClassVar[Stage]
    STAGE_SECOND_RERANK: _ClassVar[Stage]

class StageState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_STATE_UNSPECIFIED: _ClassVar[StageState]
    STAGE_STATE_COMPLETE: _ClassVar[StageState]
    STAGE_STATE_SKIPPED: _ClassVar[StageState]
    STAGE_STATE_FAILED: _ClassVar[StageState]
    STAGE_STATE_PARTIAL: _ClassVar[StageState]

class StageReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_REASON_UNSPECIFIED: _ClassVar[StageReason]
    STAGE_REASON_NOT_REQUESTED: _ClassVar[StageReason]
    STAGE_REASON_NOT_CONFIGURED: _ClassVar[StageReason]
    STAGE_REASON_LANGUAGE_NOT_SERVED: _ClassVar[StageReason]
    STAGE_REASON_NO_CANDIDATES: _ClassVar[StageReason]
    STAGE_REASON_DEADLINE: _ClassVar[StageReason]
    STAGE_REASON_MODEL_FAILED: _ClassVar[StageReason]
    STAGE_REASON_INDEX_UNAVAILABLE: _ClassVar[StageReason]
    STAGE_REASON_NO_QUERY_TERMS: _ClassVar[StageReason]
    STAGE_REASON_OVERLOADED: _ClassVar[StageReason]
    STAGE_REASON_MODEL_UNAVAILABLE: _ClassVar[StageReason]
    STAGE_REASON_SHARDS_MISSING: _ClassVar[StageReason]

class HitState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HIT_STATE_UNSPECIFIED: _ClassVar[HitState]
    HIT_STATE_SCORED: _ClassVar[HitState]
    HIT_STATE_TRUNCATED: _ClassVar[HitState]
    HIT_STATE_UNSCORED: _ClassVar[HitState]

class UnscoredReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSCORED_REASON_UNSPECIFIED: _ClassVar[UnscoredReason]
    UNSCORED_REASON_BEYOND_DEPTH: _ClassVar[UnscoredReason]
    UNSCORED_REASON_EMPTY_TEXT: _ClassVar[UnscoredReason]
    UNSCORED_REASON_NOT_FINITE: _ClassVar[UnscoredReason]
    UNSCORED_REASON_TOO_LONG: _ClassVar[UnscoredReason]
    UNSCORED_REASON_NEEDS_TEXT: _ClassVar[UnscoredReason]
    UNSCORED_REASON_DEADLINE: _ClassVar[UnscoredReason]

class LongPassages(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LONG_PASSAGES_UNSPECIFIED: _ClassVar[LongPassages]
    LONG_PASSAGES_CUT_TAIL: _ClassVar[LongPassages]
    LONG_PASSAGES_HEAD_AND_TAIL: _ClassVar[LongPassages]
    LONG_PASSAGES_CHUNK_AND_MAX: _ClassVar[LongPassages]
    LONG_PASSAGES_REJECT: _ClassVar[LongPassages]

class RequestClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REQUEST_CLASS_UNSPECIFIED: _ClassVar[RequestClass]
    REQUEST_CLASS_INTERACTIVE: _ClassVar[RequestClass]
    REQUEST_CLASS_PREFETCH: _ClassVar[RequestClass]
    REQUEST_CLASS_OFFLINE: _ClassVar[RequestClass]

class CachePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_POLICY_UNSPECIFIED: _ClassVar[CachePolicy]
    CACHE_POLICY_READ_AND_WRITE: _ClassVar[CachePolicy]
    CACHE_POLICY_BYPASS: _ClassVar[CachePolicy]
STAGE_UNSPECIFIED: Stage
STAGE_INPUT: Stage
STAGE_LEXICAL: Stage
STAGE_DENSE: Stage
STAGE_FUSED: Stage
STAGE_FIRST_RERANK: Stage
STAGE_SECOND_RERANK: Stage
STAGE_STATE_UNSPECIFIED: StageState
STAGE_STATE_COMPLETE: StageState
STAGE_STATE_SKIPPED: StageState
STAGE_STATE_FAILED: StageState
STAGE_STATE_PARTIAL: StageState
STAGE_REASON_UNSPECIFIED: StageReason
STAGE_REASON_NOT_REQUESTED: StageReason
STAGE_REASON_NOT_CONFIGURED: StageReason
STAGE_REASON_LANGUAGE_NOT_SERVED: StageReason
STAGE_REASON_NO_CANDIDATES: StageReason
STAGE_REASON_DEADLINE: StageReason
STAGE_REASON_MODEL_FAILED: StageReason
STAGE_REASON_INDEX_UNAVAILABLE: StageReason
STAGE_REASON_NO_QUERY_TERMS: StageReason
STAGE_REASON_OVERLOADED: StageReason
STAGE_REASON_MODEL_UNAVAILABLE: StageReason
STAGE_REASON_SHARDS_MISSING: StageReason
HIT_STATE_UNSPECIFIED: HitState
HIT_STATE_SCORED: HitState
HIT_STATE_TRUNCATED: HitState
HIT_STATE_UNSCORED: HitState
UNSCORED_REASON_UNSPECIFIED: UnscoredReason
UNSCORED_REASON_BEYOND_DEPTH: UnscoredReason
UNSCORED_REASON_EMPTY_TEXT: UnscoredReason
UNSCORED_REASON_NOT_FINITE: UnscoredReason
UNSCORED_REASON_TOO_LONG: UnscoredReason
UNSCORED_REASON_NEEDS_TEXT: UnscoredReason
UNSCORED_REASON_DEADLINE: UnscoredReason
LONG_PASSAGES_UNSPECIFIED: LongPassages
LONG_PASSAGES_CUT_TAIL: LongPassages
LONG_PASSAGES_HEAD_AND_TAIL: LongPassages
LONG_PASSAGES_CHUNK_AND_MAX: LongPassages
LONG_PASSAGES_REJECT: LongPassages
REQUEST_CLASS_UNSPECIFIED: RequestClass
REQUEST_CLASS_INTERACTIVE: RequestClass
REQUEST_CLASS_PREFETCH: RequestClass
REQUEST_CLASS_OFFLINE: RequestClass
CACHE_POLICY_UNSPECIFIED: CachePolicy
CACHE_POLICY_READ_AND_WRITE: CachePolicy
CACHE_POLICY_BYPASS: CachePolicy

class StageReport(_message.Message):
    __slots__ = ("stage", "state", "reason", "detail", "model", "model_revision", "candidates_in", "candidates_out", "elapsed_milliseconds", "template_digest", "candidates_cached", "queue_milliseconds", "answered_share")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_REVISION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_IN_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_OUT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_CACHED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_SHARE_FIELD_NUMBER: _ClassVar[int]
    stage: Stage
    state: StageState
    reason: StageReason
    detail: str
    model: str
    model_revision: str
    candidates_in: int
    candidates_out: int
    elapsed_milliseconds: float
    template_digest: str
    candidates_cached: int
    queue_milliseconds: float
    answered_share: float
    def __init__(self, stage: _Optional[_Union[Stage, str]] = ..., state: _Optional[_Union[StageState, str]] = ..., reason: _Optional[_Union[StageReason, str]] = ..., detail: _Optional[str] = ..., model: _Optional[str] = ..., model_revision: _Optional[str] = ..., candidates_in: _Optional[int] = ..., candidates_out: _Optional[int] = ..., elapsed_milliseconds: _Optional[float] = ..., template_digest: _Optional[str] = ..., candidates_cached: _Optional[int] = ..., queue_milliseconds: _Optional[float] = ..., answered_share: _Optional[float] = ...) -> None: ...

class StageScore(_message.Message):
    __slots__ = ("stage", "rank", "score", "model_score")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_SCORE_FIELD_NUMBER: _ClassVar[int]
    stage: Stage
    rank: int
    score: float
    model_score: float
    def __init__(self, stage: _Optional[_Union[Stage, str]] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., model_score: _Optional[float] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("doc_id", "rank", "stage", "score", "state", "unscored_reason", "token_count", "fields", "explanation", "logit", "probability", "truncated", "highlights", "boost_factor", "group")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DOC_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UNSCORED_REASON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHTS_FIELD_NUMBER: _ClassVar[int]
    BOOST_FACTOR_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    doc_id: str
    rank: int
    stage: Stage
    score: float
    state: HitState
    unscored_reason: UnscoredReason
    token_count: int
    fields: _containers.ScalarMap[str, str]
    explanation: _containers.RepeatedCompositeFieldContainer[StageScore]
    logit: float
    probability: float
    truncated: bool
    highlights: _containers.RepeatedCompositeFieldContainer[Highlight]
    boost_factor: float
    group: _filter_pb2.AttributeValue
    def __init__(self, doc_id: _Optional[str] = ..., rank: _Optional[int] = ..., stage: _Optional[_Union[Stage, str]] = ..., score: _Optional[float] = ..., state: _Optional[_Union[HitState, str]] = ..., unscored_reason: _Optional[_Union[UnscoredReason, str]] = ..., token_count: _Optional[int] = ..., fields: _Optional[_Mapping[str, str]] = ..., explanation: _Optional[_Iterable[_Union[StageScore, _Mapping]]] = ..., logit: _Optional[float] = ..., probability: _Optional[float] = ..., truncated: bool = ..., highlights: _Optional[_Iterable[_Union[Highlight, _Mapping]]] = ..., boost_factor: _Optional[float] = ..., group: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ...) -> None: ...

class Highlight(_message.Message):
    __slots__ = ("field", "text", "spans")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    field: str
    text: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, field: _Optional[str] = ..., text: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Ranking(_message.Message):
    __slots__ = ("revision", "stage", "final", "degraded", "hits", "stages", "ranking_token", "variant", "swapped_rank", "interleaved")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    RANKING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    SWAPPED_RANK_FIELD_NUMBER: _ClassVar[int]
    INTERLEAVED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    stage: Stage
    final: bool
    degraded: bool
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    stages: _containers.RepeatedCompositeFieldContainer[StageReport]
    ranking_token: str
    variant: str
    swapped_rank: int
    interleaved: bool
    def __init__(self, revision: _Optional[int] = ..., stage: _Optional[_Union[Stage, str]] = ..., final: bool = ..., degraded: bool = ..., hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[StageReport, _Mapping]]] = ..., ranking_token: _Optional[str] = ..., variant: _Optional[str] = ..., swapped_rank: _Optional[int] = ..., interleaved: bool = ...) -> None: ...

class Visitor(_message.Message):
    __slots__ = ("session_id", "user_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    user_id: str
    def __init__(self, session_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class RankingOptions(_message.Message):
    __slots__ = ("top_k", "last_stage", "first_rerank_depth", "second_rerank_depth", "explain", "language", "minimum_stage", "long_passages", "request_class", "cache", "visitor", "unlogged")
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    LAST_STAGE_FIELD_NUMBER: _ClassVar[int]
    FIRST_RERANK_DEPTH_FIELD_NUMBER: _ClassVar[int]
    SECOND_RERANK_DEPTH_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_STAGE_FIELD_NUMBER: _ClassVar[int]
    LONG_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CLASS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    VISITOR_FIELD_NUMBER: _ClassVar[int]
    UNLOGGED_FIELD_NUMBER: _ClassVar[int]
    top_k: int
    last_stage: Stage
    first_rerank_depth: int
    second_rerank_depth: int
    explain: bool
    language: str
    minimum_stage: Stage
    long_passages: LongPassages
    request_class: RequestClass
    cache: CachePolicy
    visitor: Visitor
    unlogged: bool
    def __init__(self, top_k: _Optional[int] = ..., last_stage: _Optional[_Union[Stage, str]] = ..., first_rerank_depth: _Optional[int] = ..., second_rerank_depth: _Optional[int] = ..., explain: bool = ..., language: _Optional[str] = ..., minimum_stage: _Optional[_Union[Stage, str]] = ..., long_passages: _Optional[_Union[LongPassages, str]] = ..., request_class: _Optional[_Union[RequestClass, str]] = ..., cache: _Optional[_Union[CachePolicy, str]] = ..., visitor: _Optional[_Union[Visitor, _Mapping]] = ..., unlogged: bool = ...) -> None: ...

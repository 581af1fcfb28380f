from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from sidecar.v1 import ranking_pb2 as _ranking_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Candidate(_message.Message):
    __slots__ = ("doc_id", "title", "text", "score", "content_digest")
    DOC_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    doc_id: str
    title: str
    text: str
    score: float
    content_digest: bytes
    def __init__(self, doc_id: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., score: _Optional[float] = ..., content_digest: _Optional[bytes] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("query", "candidates", "options", "lexical_signal")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LEXICAL_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    query: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    options: _ranking_pb2.RankingOptions
    lexical_signal: bool
    def __init__(self, query: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., options: _Optional[_Union[_ranking_pb2.RankingOptions, _Mapping]] = ..., lexical_signal: bool = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("ranking",)
    RANKING_FIELD_NUMBER: _ClassVar[int]
    ranking: _ranking_pb2.Ranking
    def __init__(self, ranking: _Optional[_Union[_ranking_pb2.Ranking, _Mapping]] = ...) -> None: ...

class RerankStreamRequest(_message.Message):
    __slots__ = ("rerank",)
    RERANK_FIELD_NUMBER: _ClassVar[int]
    rerank: RerankRequest
    def __init__(self, rerank: _Optional[_Union[RerankRequest, _Mapping]] = ...) -> None: ...

class RerankStreamResponse(_message.Message):
    __slots__ = ("ranking",)
    RANKING_FIELD_NUMBER: _ClassVar[int]
    ranking: _ranking_pb2.Ranking
    def __init__(self, ranking: _Optional[_Union[_ranking_pb2.Ranking, _Mapping]] = ...) -> None: ...

class RerankSessionRequest(_message.Message):
    __slots__ = ("request_id", "start", "candidates", "end", "cancel")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    start: SessionStart
    candidates: SessionCandidates
    end: SessionEnd
    cancel: SessionCancel
    def __init__(self, request_id: _Optional[str] = ..., start: _Optional[_Union[SessionStart, _Mapping]] = ..., candidates: _Optional[_Union[SessionCandidates, _Mapping]] = ..., end: _Optional[_Union[SessionEnd, _Mapping]] = ..., cancel: _Optional[_Union[SessionCancel, _Mapping]] = ...) -> None: ...

class SessionStart(_message.Message):
    __slots__ = ("query", "options", "lexical_signal", "timeout")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    LEXICAL_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    query: str
    options: _ranking_pb2.RankingOptions
    lexical_signal: bool
    timeout: _duration_pb2.Duration
    def __init__(self, query: _Optional[str] = ..., options: _Optional[_Union[_ranking_pb2.RankingOptions, _Mapping]] = ..., lexical_signal: bool = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SessionCandidates(_message.Message):
    __slots__ = ("candidates",)
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class SessionEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionCancel(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RerankSessionResponse(_message.Message):
    __slots__ = ("request_id", "started", "ranking", "back_off", "failed", "shutting_down")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    BACK_OFF_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SHUTTING_DOWN_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    started: SessionStarted
    ranking: _ranking_pb2.Ranking
    back_off: SessionBackOff
    failed: SessionFailed
    shutting_down: SessionShuttingDown
    def __init__(self, request_id: _Optional[str] = ..., started: _Optional[_Union[SessionStarted, _Mapping]] = ..., ranking: _Optional[_Union[_ranking_pb2.Ranking, _Mapping]] = ..., back_off: _Optional[_Union[SessionBackOff, _Mapping]] = ..., failed: _Optional[_Union[SessionFailed, _Mapping]] = ..., shutting_down: _Optional[_Union[SessionShuttingDown, _Mapping]] = ...) -> None: ...

class SessionStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionBackOff(_message.Message):
    __slots__ = ("retry_delay",)
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    retry_delay: _duration_pb2.Duration
    def __init__(self, retry_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SessionFailed(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class SessionShuttingDown(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

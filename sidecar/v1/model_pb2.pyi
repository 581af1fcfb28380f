from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_ROLE_UNSPECIFIED: _ClassVar[ModelRole]
    MODEL_ROLE_BI_ENCODER: _ClassVar[ModelRole]
    MODEL_ROLE_FIRST_RERANKER: _ClassVar[ModelRole]
    MODEL_ROLE_SECOND_RERANKER: _ClassVar[ModelRole]

class ChangePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_PHASE_UNSPECIFIED: _ClassVar[ChangePhase]
    CHANGE_PHASE_FETCHING: _ClassVar[ChangePhase]
    CHANGE_PHASE_LOADING: _ClassVar[ChangePhase]
    CHANGE_PHASE_CHECKING: _ClassVar[ChangePhase]
    CHANGE_PHASE_ENCODING: _ClassVar[ChangePhase]
    CHANGE_PHASE_FLIPPED: _ClassVar[ChangePhase]
MODEL_ROLE_UNSPECIFIED: ModelRole
MODEL_ROLE_BI_ENCODER: ModelRole
MODEL_ROLE_FIRST_RERANKER: ModelRole
MODEL_ROLE_SECOND_RERANKER: ModelRole
CHANGE_PHASE_UNSPECIFIED: ChangePhase
CHANGE_PHASE_FETCHING: ChangePhase
CHANGE_PHASE_LOADING: ChangePhase
CHANGE_PHASE_CHECKING: ChangePhase
CHANGE_PHASE_ENCODING: ChangePhase
CHANGE_PHASE_FLIPPED: ChangePhase

class ModelChange(_message.Message):
    __slots__ = ("model", "version", "canary", "phase", "done", "total")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    canary: bool
    phase: ChangePhase
    done: int
    total: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., canary: bool = ..., phase: _Optional[_Union[ChangePhase, str]] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("version", "published", "revision", "aliases")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    version: str
    published: _timestamp_pb2.Timestamp
    revision: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., published: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class ServingModel(_message.Message):
    __slots__ = ("role", "model", "revision", "canary_revision", "registry_model", "version", "versions")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CANARY_REVISION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    role: ModelRole
    model: str
    revision: str
    canary_revision: str
    registry_model: str
    version: str
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    def __init__(self, role: _Optional[_Union[ModelRole, str]] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., canary_revision: _Optional[str] = ..., registry_model: _Optional[str] = ..., version: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "change", "canary_share", "interleaved_share", "last_intervention")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    INTERLEAVED_SHARE_FIELD_NUMBER: _ClassVar[int]
    LAST_INTERVENTION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ServingModel]
    change: ModelChange
    canary_share: float
    interleaved_share: float
    last_intervention: str
    def __init__(self, models: _Optional[_Iterable[_Union[ServingModel, _Mapping]]] = ..., change: _Optional[_Union[ModelChange, _Mapping]] = ..., canary_share: _Optional[float] = ..., interleaved_share: _Optional[float] = ..., last_intervention: _Optional[str] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("version", "kind", "languages", "max_tokens", "dimensions", "pooling", "query_prefix", "passage_prefix", "golden_pairs", "calibrated", "files", "contract_json")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    QUERY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_PAIRS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_JSON_FIELD_NUMBER: _ClassVar[int]
    version: ModelVersion
    kind: str
    languages: _containers.RepeatedScalarFieldContainer[str]
    max_tokens: int
    dimensions: int
    pooling: str
    query_prefix: str
    passage_prefix: str
    golden_pairs: int
    calibrated: bool
    files: _containers.ScalarMap[str, str]
    contract_json: str
    def __init__(self, version: _Optional[_Union[ModelVersion, _Mapping]] = ..., kind: _Optional[str] = ..., languages: _Optional[_Iterable[str]] = ..., max_tokens: _Optional[int] = ..., dimensions: _Optional[int] = ..., pooling: _Optional[str] = ..., query_prefix: _Optional[str] = ..., passage_prefix: _Optional[str] = ..., golden_pairs: _Optional[int] = ..., calibrated: bool = ..., files: _Optional[_Mapping[str, str]] = ..., contract_json: _Optional[str] = ...) -> None: ...

class ActivateModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ActivateModelResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: ModelChange
    def __init__(self, change: _Optional[_Union[ModelChange, _Mapping]] = ...) -> None: ...

class StartCanaryRequest(_message.Message):
    __slots__ = ("model", "version", "share", "interleaved_share")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    INTERLEAVED_SHARE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    share: float
    interleaved_share: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., share: _Optional[float] = ..., interleaved_share: _Optional[float] = ...) -> None: ...

class StartCanaryResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: ModelChange
    def __init__(self, change: _Optional[_Union[ModelChange, _Mapping]] = ...) -> None: ...

class PromoteCanaryRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class PromoteCanaryResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    def __init__(self, version: _Optional[str] = ...) -> None: ...

class StopCanaryRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class StopCanaryResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    def __init__(self, version: _Optional[str] = ...) -> None: ...

class RollBackModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class RollBackModelResponse(_message.Message):
    __slots__ = ("change",)
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    change: ModelChange
    def __init__(self, change: _Optional[_Union[ModelChange, _Mapping]] = ...) -> None: ...

class CompareModelsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class VariantStatistics(_message.Message):
    __slots__ = ("version", "answers", "failure_share", "p50_milliseconds", "p99_milliseconds")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_SHARE_FIELD_NUMBER: _ClassVar[int]
    P50_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    version: str
    answers: int
    failure_share: float
    p50_milliseconds: float
    p99_milliseconds: float
    def __init__(self, version: _Optional[str] = ..., answers: _Optional[int] = ..., failure_share: _Optional[float] = ..., p50_milliseconds: _Optional[float] = ..., p99_milliseconds: _Optional[float] = ...) -> None: ...

class CompareModelsResponse(_message.Message):
    __slots__ = ("production", "canary", "canary_wins", "production_wins", "ties", "preference", "preference_lower", "preference_upper", "winner")
    PRODUCTION_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_WINS_FIELD_NUMBER: _ClassVar[int]
    PRODUCTION_WINS_FIELD_NUMBER: _ClassVar[int]
    TIES_FIELD_NUMBER: _ClassVar[int]
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    PREFERENCE_LOWER_FIELD_NUMBER: _ClassVar[int]
    PREFERENCE_UPPER_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    production: VariantStatistics
    canary: VariantStatistics
    canary_wins: int
    production_wins: int
    ties: int
    preference: float
    preference_lower: float
    preference_upper: float
    winner: str
    def __init__(self, production: _Optional[_Union[VariantStatistics, _Mapping]] = ..., canary: _Optional[_Union[VariantStatistics, _Mapping]] = ..., canary_wins: _Optional[int] = ..., production_wins: _Optional[int] = ..., ties: _Optional[int] = ..., preference: _Optional[float] = ..., preference_lower: _Optional[float] = ..., preference_upper: _Optional[float] = ..., winner: _Optional[str] = ...) -> None: ...

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sidecar.v1 import collection_pb2 as _collection_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MigrationAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MIGRATION_ACTION_UNSPECIFIED: _ClassVar[MigrationAction]
    MIGRATION_ACTION_MOVE: _ClassVar[MigrationAction]
    MIGRATION_ACTION_FINISH: _ClassVar[MigrationAction]
    MIGRATION_ACTION_BACK: _ClassVar[MigrationAction]
MIGRATION_ACTION_UNSPECIFIED: MigrationAction
MIGRATION_ACTION_MOVE: MigrationAction
MIGRATION_ACTION_FINISH: MigrationAction
MIGRATION_ACTION_BACK: MigrationAction

class Progress(_message.Message):
    __slots__ = ("step", "done", "total")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    step: str
    done: int
    total: int
    def __init__(self, step: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Backup(_message.Message):
    __slots__ = ("name", "collection", "created", "sequence", "document_count", "bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    collection: str
    created: _timestamp_pb2.Timestamp
    sequence: int
    document_count: int
    bytes: int
    def __init__(self, name: _Optional[str] = ..., collection: _Optional[str] = ..., created: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., sequence: _Optional[int] = ..., document_count: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class VerifyCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class VerifyCollectionResponse(_message.Message):
    __slots__ = ("progress", "findings")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    findings: Findings
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., findings: _Optional[_Union[Findings, _Mapping]] = ...) -> None: ...

class Findings(_message.Message):
    __slots__ = ("sequence", "document_count", "findings")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    document_count: int
    findings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sequence: _Optional[int] = ..., document_count: _Optional[int] = ..., findings: _Optional[_Iterable[str]] = ...) -> None: ...

class BackupCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class BackupCollectionResponse(_message.Message):
    __slots__ = ("progress", "backup")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    backup: Backup
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., backup: _Optional[_Union[Backup, _Mapping]] = ...) -> None: ...

class RestoreCollectionRequest(_message.Message):
    __slots__ = ("backup", "collection")
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    backup: str
    collection: str
    def __init__(self, backup: _Optional[str] = ..., collection: _Optional[str] = ...) -> None: ...

class RestoreCollectionResponse(_message.Message):
    __slots__ = ("progress", "restored")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    restored: RestoredCollection
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., restored: _Optional[_Union[RestoredCollection, _Mapping]] = ...) -> None: ...

class RestoredCollection(_message.Message):
    __slots__ = ("collection", "sequence", "document_count", "rebuilt")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    REBUILT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    sequence: int
    document_count: int
    rebuilt: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., sequence: _Optional[int] = ..., document_count: _Optional[int] = ..., rebuilt: _Optional[_Iterable[str]] = ...) -> None: ...

class ListBackupsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListBackupsResponse(_message.Message):
    __slots__ = ("backups",)
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    backups: _containers.RepeatedCompositeFieldContainer[Backup]
    def __init__(self, backups: _Optional[_Iterable[_Union[Backup, _Mapping]]] = ...) -> None: ...

class MigrateCollectionRequest(_message.Message):
    __slots__ = ("collection", "action", "backend", "documents_per_second", "least_overlap", "discard_writes")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LEAST_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    DISCARD_WRITES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    action: MigrationAction
    backend: _collection_pb2.Backend
    documents_per_second: int
    least_overlap: float
    discard_writes: bool
    def __init__(self, collection: _Optional[str] = ..., action: _Optional[_Union[MigrationAction, str]] = ..., backend: _Optional[_Union[_collection_pb2.Backend, _Mapping]] = ..., documents_per_second: _Optional[int] = ..., least_overlap: _Optional[float] = ..., discard_writes: bool = ...) -> None: ...

class MigrateCollectionResponse(_message.Message):
    __slots__ = ("progress", "migrated")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MIGRATED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    migrated: MigratedCollection
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., migrated: _Optional[_Union[MigratedCollection, _Mapping]] = ...) -> None: ...

class MigratedCollection(_message.Message):
    __slots__ = ("collection", "incarnation", "backend", "document_count", "compared_documents", "compared_vectors", "probes", "lexical_overlap", "dense_overlap", "held", "discarded")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPARED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    COMPARED_VECTORS_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    LEXICAL_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    DENSE_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    DISCARDED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    incarnation: str
    backend: _collection_pb2.Backend
    document_count: int
    compared_documents: int
    compared_vectors: int
    probes: int
    lexical_overlap: float
    dense_overlap: float
    held: _duration_pb2.Duration
    discarded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., incarnation: _Optional[str] = ..., backend: _Optional[_Union[_collection_pb2.Backend, _Mapping]] = ..., document_count: _Optional[int] = ..., compared_documents: _Optional[int] = ..., compared_vectors: _Optional[int] = ..., probes: _Optional[int] = ..., lexical_overlap: _Optional[float] = ..., dense_overlap: _Optional[float] = ..., held: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., discarded: _Optional[_Iterable[str]] = ...) -> None: ...

from sidecar.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Acknowledgement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACKNOWLEDGEMENT_UNSPECIFIED: _ClassVar[Acknowledgement]
    ACKNOWLEDGEMENT_DURABLE: _ClassVar[Acknowledgement]
    ACKNOWLEDGEMENT_SEARCHABLE: _ClassVar[Acknowledgement]
ACKNOWLEDGEMENT_UNSPECIFIED: Acknowledgement
ACKNOWLEDGEMENT_DURABLE: Acknowledgement
ACKNOWLEDGEMENT_SEARCHABLE: Acknowledgement

class Document(_message.Message):
    __slots__ = ("doc_id", "fields", "attributes", "vector", "version", "expected_version")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _filter_pb2.AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ...) -> None: ...
    DOC_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    doc_id: str
    fields: _containers.ScalarMap[str, str]
    attributes: _containers.MessageMap[str, _filter_pb2.AttributeValue]
    vector: _containers.RepeatedScalarFieldContainer[float]
    version: int
    expected_version: int
    def __init__(self, doc_id: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., attributes: _Optional[_Mapping[str, _filter_pb2.AttributeValue]] = ..., vector: _Optional[_Iterable[float]] = ..., version: _Optional[int] = ..., expected_version: _Optional[int] = ...) -> None: ...

class VersionConflict(_message.Message):
    __slots__ = ("doc_id", "version")
    DOC_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    doc_id: str
    version: int
    def __init__(self, doc_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class UpsertDocumentsRequest(_message.Message):
    __slots__ = ("collection", "batch_id", "documents", "acknowledgement", "request_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    batch_id: str
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    acknowledgement: Acknowledgement
    request_id: str
    def __init__(self, collection: _Optional[str] = ..., batch_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpsertDocumentsResponse(_message.Message):
    __slots__ = ("batch_id", "document_count", "sequence", "durable_sequence", "searchable_sequence", "repeated", "conflicts", "versions")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    document_count: int
    sequence: int
    durable_sequence: int
    searchable_sequence: int
    repeated: bool
    conflicts: _containers.RepeatedCompositeFieldContainer[VersionConflict]
    versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, batch_id: _Optional[str] = ..., document_count: _Optional[int] = ..., sequence: _Optional[int] = ..., durable_sequence: _Optional[int] = ..., searchable_sequence: _Optional[int] = ..., repeated: bool = ..., conflicts: _Optional[_Iterable[_Union[VersionConflict, _Mapping]]] = ..., versions: _Optional[_Iterable[int]] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    __slots__ = ("collection", "doc_ids", "request_id", "expected_versions", "acknowledgement")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOC_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    doc_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    expected_versions: _containers.RepeatedScalarFieldContainer[int]
    acknowledgement: Acknowledgement
    def __init__(self, collection: _Optional[str] = ..., doc_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., expected_versions: _Optional[_Iterable[int]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, str]] = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    __slots__ = ("deleted_count", "sequence", "durable_sequence", "searchable_sequence", "repeated", "conflicts")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    sequence: int
    durable_sequence: int
    searchable_sequence: int
    repeated: bool
    conflicts: _containers.RepeatedCompositeFieldContainer[VersionConflict]
    def __init__(self, deleted_count: _Optional[int] = ..., sequence: _Optional[int] = ..., durable_sequence: _Optional[int] = ..., searchable_sequence: _Optional[int] = ..., repeated: bool = ..., conflicts: _Optional[_Iterable[_Union[VersionConflict, _Mapping]]] = ...) -> None: ...

class GetDocumentsRequest(_message.Message):
    __slots__ = ("collection", "doc_ids", "include_vectors")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOC_IDS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTORS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    doc_ids: _containers.RepeatedScalarFieldContainer[str]
    include_vectors: bool
    def __init__(self, collection: _Optional[str] = ..., doc_ids: _Optional[_Iterable[str]] = ..., include_vectors: bool = ...) -> None: ...

class GetDocumentsResponse(_message.Message):
    __slots__ = ("documents", "missing_doc_ids")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_DOC_IDS_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    missing_doc_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., missing_doc_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("document_count", "durable_sequence", "searchable_sequence", "lexical_count", "dense_count", "disk_bytes", "dense_form", "dense_building")
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEXICAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    DENSE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    DENSE_FORM_FIELD_NUMBER: _ClassVar[int]
    DENSE_BUILDING_FIELD_NUMBER: _ClassVar[int]
    document_count: int
    durable_sequence: int
    searchable_sequence: int
    lexical_count: int
    dense_count: int
    disk_bytes: int
    dense_form: str
    dense_building: bool
    def __init__(self, document_count: _Optional[int] = ..., durable_sequence: _Optional[int] = ..., searchable_sequence: _Optional[int] = ..., lexical_count: _Optional[int] = ..., dense_count: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., dense_form: _Optional[str] = ..., dense_building: bool = ...) -> None: ...

from sidecar.v1 import filter_pb2 as _filter_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Analyzer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANALYZER_UNSPECIFIED: _ClassVar[Analyzer]
    ANALYZER_ENGLISH: _ClassVar[Analyzer]
    ANALYZER_CHINESE: _ClassVar[Analyzer]
ANALYZER_UNSPECIFIED: Analyzer
ANALYZER_ENGLISH: Analyzer
ANALYZER_CHINESE: Analyzer

class TextField(_message.Message):
    __slots__ = ("name", "analyzer")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ANALYZER_FIELD_NUMBER: _ClassVar[int]
    name: str
    analyzer: Analyzer
    def __init__(self, name: _Optional[str] = ..., analyzer: _Optional[_Union[Analyzer, str]] = ...) -> None: ...

class AttributeField(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: _filter_pb2.AttributeType
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[_filter_pb2.AttributeType, str]] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("text_fields", "attributes")
    TEXT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    text_fields: _containers.RepeatedCompositeFieldContainer[TextField]
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeField]
    def __init__(self, text_fields: _Optional[_Iterable[_Union[TextField, _Mapping]]] = ..., attributes: _Optional[_Iterable[_Union[AttributeField, _Mapping]]] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "schema", "bi_encoder", "bi_encoder_revision", "dimensions", "document_count", "backend", "incarnation")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    BI_ENCODER_FIELD_NUMBER: _ClassVar[int]
    BI_ENCODER_REVISION_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema: Schema
    bi_encoder: str
    bi_encoder_revision: str
    dimensions: int
    document_count: int
    backend: Backend
    incarnation: str
    def __init__(self, name: _Optional[str] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., bi_encoder: _Optional[str] = ..., bi_encoder_revision: _Optional[str] = ..., dimensions: _Optional[int] = ..., document_count: _Optional[int] = ..., backend: _Optional[_Union[Backend, _Mapping]] = ..., incarnation: _Optional[str] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("name", "index", "mapping", "read_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: str
    mapping: _containers.RepeatedCompositeFieldContainer[FieldMapping]
    read_only: bool
    def __init__(self, name: _Optional[str] = ..., index: _Optional[str] = ..., mapping: _Optional[_Iterable[_Union[FieldMapping, _Mapping]]] = ..., read_only: bool = ...) -> None: ...

class FieldMapping(_message.Message):
    __slots__ = ("name", "path")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "schema", "backend")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema: Schema
    backend: Backend
    def __init__(self, name: _Optional[str] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., backend: _Optional[_Union[Backend, _Mapping]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class DescribeCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DescribeCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections",)
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ...) -> None: ...

class DropCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

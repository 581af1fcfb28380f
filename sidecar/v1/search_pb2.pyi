from sidecar.v1 import filter_pb2 as _filter_pb2
from sidecar.v1 import ranking_pb2 as _ranking_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FacetScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACET_SCOPE_UNSPECIFIED: _ClassVar[FacetScope]
    FACET_SCOPE_MATCHING: _ClassVar[FacetScope]
    FACET_SCOPE_RECALLED: _ClassVar[FacetScope]
FACET_SCOPE_UNSPECIFIED: FacetScope
FACET_SCOPE_MATCHING: FacetScope
FACET_SCOPE_RECALLED: FacetScope

class SearchRequest(_message.Message):
    __slots__ = ("collection", "query", "filter", "options", "return_fields", "query_vector", "min_sequence", "field_weights", "boosts", "decay", "grouping", "diversity", "highlighting", "page", "facets")
    class FieldWeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RETURN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    QUERY_VECTOR_FIELD_NUMBER: _ClassVar[int]
    MIN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIELD_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BOOSTS_FIELD_NUMBER: _ClassVar[int]
    DECAY_FIELD_NUMBER: _ClassVar[int]
    GROUPING_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHTING_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    FACETS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    query: str
    filter: _filter_pb2.Filter
    options: _ranking_pb2.RankingOptions
    return_fields: _containers.RepeatedScalarFieldContainer[str]
    query_vector: _containers.RepeatedScalarFieldContainer[float]
    min_sequence: int
    field_weights: _containers.ScalarMap[str, float]
    boosts: _containers.RepeatedCompositeFieldContainer[Boost]
    decay: Decay
    grouping: Grouping
    diversity: Diversity
    highlighting: Highlighting
    page: Page
    facets: _containers.RepeatedCompositeFieldContainer[FacetRequest]
    def __init__(self, collection: _Optional[str] = ..., query: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., options: _Optional[_Union[_ranking_pb2.RankingOptions, _Mapping]] = ..., return_fields: _Optional[_Iterable[str]] = ..., query_vector: _Optional[_Iterable[float]] = ..., min_sequence: _Optional[int] = ..., field_weights: _Optional[_Mapping[str, float]] = ..., boosts: _Optional[_Iterable[_Union[Boost, _Mapping]]] = ..., decay: _Optional[_Union[Decay, _Mapping]] = ..., grouping: _Optional[_Union[Grouping, _Mapping]] = ..., diversity: _Optional[_Union[Diversity, _Mapping]] = ..., highlighting: _Optional[_Union[Highlighting, _Mapping]] = ..., page: _Optional[_Union[Page, _Mapping]] = ..., facets: _Optional[_Iterable[_Union[FacetRequest, _Mapping]]] = ...) -> None: ...

class Boost(_message.Message):
    __slots__ = ("filter", "factor")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    filter: _filter_pb2.Filter
    factor: float
    def __init__(self, filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., factor: _Optional[float] = ...) -> None: ...

class Decay(_message.Message):
    __slots__ = ("attribute", "origin", "offset", "half_life", "floor", "missing")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    origin: _filter_pb2.AttributeValue
    offset: float
    half_life: float
    floor: float
    missing: float
    def __init__(self, attribute: _Optional[str] = ..., origin: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ..., offset: _Optional[float] = ..., half_life: _Optional[float] = ..., floor: _Optional[float] = ..., missing: _Optional[float] = ...) -> None: ...

class Grouping(_message.Message):
    __slots__ = ("attribute", "per_group")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    PER_GROUP_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    per_group: int
    def __init__(self, attribute: _Optional[str] = ..., per_group: _Optional[int] = ...) -> None: ...

class Diversity(_message.Message):
    __slots__ = ("relevance", "window")
    RELEVANCE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    relevance: float
    window: int
    def __init__(self, relevance: _Optional[float] = ..., window: _Optional[int] = ...) -> None: ...

class Highlighting(_message.Message):
    __slots__ = ("fields", "fragments", "fragment_characters")
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    FRAGMENTS_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.RepeatedScalarFieldContainer[str]
    fragments: int
    fragment_characters: int
    def __init__(self, fields: _Optional[_Iterable[str]] = ..., fragments: _Optional[int] = ..., fragment_characters: _Optional[int] = ...) -> None: ...

class Page(_message.Message):
    __slots__ = ("cursor", "hits")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    hits: int
    def __init__(self, cursor: _Optional[str] = ..., hits: _Optional[int] = ...) -> None: ...

class FacetRequest(_message.Message):
    __slots__ = ("attribute", "limit", "ranges", "scope")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    limit: int
    ranges: _containers.RepeatedCompositeFieldContainer[FacetRange]
    scope: FacetScope
    def __init__(self, attribute: _Optional[str] = ..., limit: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[FacetRange, _Mapping]]] = ..., scope: _Optional[_Union[FacetScope, str]] = ...) -> None: ...

class FacetRange(_message.Message):
    __slots__ = ("at_least", "less_than")
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    LESS_THAN_FIELD_NUMBER: _ClassVar[int]
    at_least: _filter_pb2.AttributeValue
    less_than: _filter_pb2.AttributeValue
    def __init__(self, at_least: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ..., less_than: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ...) -> None: ...

class Facet(_message.Message):
    __slots__ = ("attribute", "counts", "other_count", "missing_count", "error_bound")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OTHER_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSING_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_BOUND_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    counts: _containers.RepeatedCompositeFieldContainer[FacetCount]
    other_count: int
    missing_count: int
    error_bound: int
    def __init__(self, attribute: _Optional[str] = ..., counts: _Optional[_Iterable[_Union[FacetCount, _Mapping]]] = ..., other_count: _Optional[int] = ..., missing_count: _Optional[int] = ..., error_bound: _Optional[int] = ...) -> None: ...

class FacetCount(_message.Message):
    __slots__ = ("value", "range", "count")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    value: _filter_pb2.AttributeValue
    range: FacetRange
    count: int
    def __init__(self, value: _Optional[_Union[_filter_pb2.AttributeValue, _Mapping]] = ..., range: _Optional[_Union[FacetRange, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("ranking", "searchable_sequence", "next_cursor", "facets")
    RANKING_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    FACETS_FIELD_NUMBER: _ClassVar[int]
    ranking: _ranking_pb2.Ranking
    searchable_sequence: int
    next_cursor: str
    facets: _containers.RepeatedCompositeFieldContainer[Facet]
    def __init__(self, ranking: _Optional[_Union[_ranking_pb2.Ranking, _Mapping]] = ..., searchable_sequence: _Optional[int] = ..., next_cursor: _Optional[str] = ..., facets: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ...) -> None: ...

class SearchStreamRequest(_message.Message):
    __slots__ = ("search",)
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    search: SearchRequest
    def __init__(self, search: _Optional[_Union[SearchRequest, _Mapping]] = ...) -> None: ...

class SearchStreamResponse(_message.Message):
    __slots__ = ("ranking", "searchable_sequence", "next_cursor", "facets")
    RANKING_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    FACETS_FIELD_NUMBER: _ClassVar[int]
    ranking: _ranking_pb2.Ranking
    searchable_sequence: int
    next_cursor: str
    facets: _containers.RepeatedCompositeFieldContainer[Facet]
    def __init__(self, ranking: _Optional[_Union[_ranking_pb2.Ranking, _Mapping]] = ..., searchable_sequence: _Optional[int] = ..., next_cursor: _Optional[str] = ..., facets: _Optional[_Iterable[_Union[Facet, _Mapping]]] = ...) -> None: ...

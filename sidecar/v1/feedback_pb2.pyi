from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_STATUS_UNSPECIFIED: _ClassVar[EventStatus]
    EVENT_STATUS_ACCEPTED: _ClassVar[EventStatus]
    EVENT_STATUS_DUPLICATE: _ClassVar[EventStatus]
    EVENT_STATUS_REFUSED: _ClassVar[EventStatus]

class EventRefusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_REFUSAL_UNSPECIFIED: _ClassVar[EventRefusal]
    EVENT_REFUSAL_INVALID_FIELD: _ClassVar[EventRefusal]
    EVENT_REFUSAL_MALFORMED_TOKEN: _ClassVar[EventRefusal]
    EVENT_REFUSAL_FORGED_TOKEN: _ClassVar[EventRefusal]
    EVENT_REFUSAL_EXPIRED_TOKEN: _ClassVar[EventRefusal]
    EVENT_REFUSAL_UNKNOWN_DOCUMENT: _ClassVar[EventRefusal]
    EVENT_REFUSAL_TOO_LARGE: _ClassVar[EventRefusal]
EVENT_STATUS_UNSPECIFIED: EventStatus
EVENT_STATUS_ACCEPTED: EventStatus
EVENT_STATUS_DUPLICATE: EventStatus
EVENT_STATUS_REFUSED: EventStatus
EVENT_REFUSAL_UNSPECIFIED: EventRefusal
EVENT_REFUSAL_INVALID_FIELD: EventRefusal
EVENT_REFUSAL_MALFORMED_TOKEN: EventRefusal
EVENT_REFUSAL_FORGED_TOKEN: EventRefusal
EVENT_REFUSAL_EXPIRED_TOKEN: EventRefusal
EVENT_REFUSAL_UNKNOWN_DOCUMENT: EventRefusal
EVENT_REFUSAL_TOO_LARGE: EventRefusal

class Click(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Dwell(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class CartAddition(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Order(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class Skip(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Rating(_message.Message):
    __slots__ = ("grade",)
    GRADE_FIELD_NUMBER: _ClassVar[int]
    grade: int
    def __init__(self, grade: _Optional[int] = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("last_rank",)
    LAST_RANK_FIELD_NUMBER: _ClassVar[int]
    last_rank: int
    def __init__(self, last_rank: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "ranking_token", "doc_id", "time", "click", "dwell", "cart_addition", "order", "skip", "rating", "view")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    RANKING_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DOC_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    CLICK_FIELD_NUMBER: _ClassVar[int]
    DWELL_FIELD_NUMBER: _ClassVar[int]
    CART_ADDITION_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    ranking_token: str
    doc_id: str
    time: _timestamp_pb2.Timestamp
    click: Click
    dwell: Dwell
    cart_addition: CartAddition
    order: Order
    skip: Skip
    rating: Rating
    view: View
    def __init__(self, event_id: _Optional[str] = ..., ranking_token: _Optional[str] = ..., doc_id: _Optional[str] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., click: _Optional[_Union[Click, _Mapping]] = ..., dwell: _Optional[_Union[Dwell, _Mapping]] = ..., cart_addition: _Optional[_Union[CartAddition, _Mapping]] = ..., order: _Optional[_Union[Order, _Mapping]] = ..., skip: _Optional[_Union[Skip, _Mapping]] = ..., rating: _Optional[_Union[Rating, _Mapping]] = ..., view: _Optional[_Union[View, _Mapping]] = ...) -> None: ...

class EventResult(_message.Message):
    __slots__ = ("event_id", "status", "refusal", "detail", "joined")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    status: EventStatus
    refusal: EventRefusal
    detail: str
    joined: bool
    def __init__(self, event_id: _Optional[str] = ..., status: _Optional[_Union[EventStatus, str]] = ..., refusal: _Optional[_Union[EventRefusal, str]] = ..., detail: _Optional[str] = ..., joined: bool = ...) -> None: ...

class LogEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class LogEventsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EventResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EventResult, _Mapping]]] = ...) -> None: ...

class LogEventStreamRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class LogEventStreamResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EventResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EventResult, _Mapping]]] = ...) -> None: ...

"""Checks of shape and size that several messages share. Sizes of texts are in bytes of UTF-8."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from google.protobuf.message import Message

from sidecar.errors import InvalidFieldError, TooLargeError

MIB = 1024 * 1024
MAX_QUERY_BYTES = 8192
MAX_ID_BYTES = 512
MAX_NAME_CHARACTERS = 64
MAX_TEXT_BYTES = MIB
MAX_REQUEST_TEXT_BYTES = 16 * MIB
MAX_CANDIDATES = 1000
MAX_TOP_K = 1000


def byte_count(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def check_bytes(field: str, text: str, most: int) -> None:
    """Raises TooLargeError if a text has more than `most` bytes."""
    size = byte_count(text)
    if size > most:
        raise TooLargeError(field, f"has {size:,} bytes; at most {most:,} are accepted")


def check_text(field: str, text: str, most: int) -> None:
    """Raises unless a text has 1 to `most` bytes."""
    if not text:
        raise InvalidFieldError(field, f"is empty: give 1 to {most:,} bytes")
    check_bytes(field, text, most)


def check_query(field: str, text: str) -> None:
    """Raises unless a text is a query: 1 to 8,192 bytes, not only white space."""
    check_text(field, text, MAX_QUERY_BYTES)
    if not text.strip():
        raise InvalidFieldError(field, "is only white space: give words to search for")


def check_count(field: str, count: int, most: int, what: str) -> None:
    """Raises unless a list has 1 to `most` elements."""
    if count == 0:
        raise InvalidFieldError(field, f"is empty: give 1 to {most:,} {what}")
    if count > most:
        raise TooLargeError(field, f"has {count:,} {what}; at most {most:,} are accepted")


def refuse_fields(message: Message, names: Collection[str], field: str = "") -> None:
    """Raises for a field of a message (itself `field` of the request) that is set and that this
    server does not serve."""
    for descriptor, _ in message.ListFields():
        if descriptor.name in names:
            path = f"{field}.{descriptor.name}" if field else descriptor.name
            raise InvalidFieldError(path, "is not served yet: leave it unset")


def check_range(field: str, value: int, least: int, most: int) -> None:
    """Raises unless `least` <= value <= `most`."""
    if not least <= value <= most:
        raise InvalidFieldError(field, f"is {value}: give {least} to {most:,}")


def check_collection(field: str, name: str) -> None:
    """Raises unless a text can be the name of a collection; whether it exists is not known here."""
    if not name:
        raise InvalidFieldError(field, "is empty: name a collection")
    check_bytes(field, name, MAX_NAME_CHARACTERS)


def check_new(field: str, doc_id: str, seen: dict[str, int], of: str) -> None:
    """Raises if an id was seen before, at index `seen[doc_id]` of the list `of`."""
    if doc_id in seen:
        quoted = shorten(doc_id, 80)
        raise InvalidFieldError(field, f"{quoted!r} is also the id of {of}[{seen[doc_id]}]")


def check_reply(field: str, reply: Message, most: int) -> None:
    """Raises TooLargeError, naming the field that asks for it, for an answer above `most` bytes."""
    size = reply.ByteSize()
    if size > most:
        raise TooLargeError(
            field, f"would bring {size:,} bytes; at most {most:,} are sent: ask for less at a time"
        )


def shorten(text: str, most: int) -> str:
    """A text cut to `most` bytes of UTF-8, the cut marked: a status travels in a header."""
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[: most - 3].decode(errors="ignore") + "…"


@contextlib.contextmanager
def under(prefix: str) -> Iterator[None]:
    """Puts `prefix.` before the field of an InvalidFieldError from a message within a message."""
    try:
        yield
    except InvalidFieldError as error:
        metadata = {key: text for key, text in error.metadata.items() if key != "field"}
        raise type(error)(f"{prefix}.{error.field}", error.description, **metadata) from error

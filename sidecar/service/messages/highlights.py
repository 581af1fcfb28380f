"""search.proto: which fragments of text a search asks for; ranking.proto: those that it gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sidecar.errors import InvalidFieldError
from sidecar.recall.attributes import nearest
from sidecar.recall.highlights import Fragment, Highlighting
from sidecar.recall.schemas import MAX_TEXT_FIELDS
from sidecar.service.messages.checks import check_bytes, check_count, check_range
from sidecar.types import Schema
from sidecar.v1 import ranking_pb2, search_pb2

FIELD = "highlighting"
MAX_FRAGMENTS = 10
CHARACTERS = (40, 2000)
Highlights = Mapping[str, Sequence[ranking_pb2.Highlight]]  # by doc_id


def to_highlighting(message: search_pb2.SearchRequest) -> Highlighting | None:
    """What is to be highlighted; None: nothing. Raises InvalidFieldError."""
    if not message.HasField(FIELD):
        return None
    asked = message.highlighting
    check_count(f"{FIELD}.fields", len(asked.fields), MAX_TEXT_FIELDS, "names")
    for index, name in enumerate(asked.fields):
        check_bytes(f"{FIELD}.fields[{index}]", name, 64)
        if name in asked.fields[:index]:
            raise InvalidFieldError(f"{FIELD}.fields[{index}]", f"{name!r} is named twice")
    return Highlighting(
        tuple(asked.fields),
        _to_number(asked, "fragments", 1, MAX_FRAGMENTS, 1),
        _to_number(asked, "fragment_characters", *CHARACTERS, 160),
    )


def check_highlighting(highlighting: Highlighting | None, schema: Schema) -> None:
    """Raises InvalidFieldError for a field that the collection does not have."""
    known = [field.name for field in schema.text_fields]
    for index, name in enumerate(highlighting.fields if highlighting else ()):
        if name not in known:
            raise InvalidFieldError(
                f"{FIELD}.fields[{index}]",
                f"{name!r} is not a text field: {nearest(name, known)}",
            )


def from_fragments(found: Iterable[tuple[str, Fragment]]) -> list[ranking_pb2.Highlight]:
    """Fragments of (field, fragment) as they are sent."""
    return [
        ranking_pb2.Highlight(
            field=name,
            text=fragment.text,
            spans=[ranking_pb2.Span(start=start, end=end) for start, end in fragment.spans],
        )
        for name, fragment in found
    ]


def add_highlights(ranking: ranking_pb2.Ranking, highlights: Highlights) -> None:
    """Gives each hit its own; one whose document was deleted meanwhile has none."""
    for hit in ranking.hits:
        hit.highlights.extend(highlights.get(hit.doc_id, ()))


def _to_number(
    message: search_pb2.Highlighting, name: str, least: int, most: int, default: int
) -> int:
    if not message.HasField(name):
        return default
    number: int = getattr(message, name)
    check_range(f"{FIELD}.{name}", number, least, most)
    return number

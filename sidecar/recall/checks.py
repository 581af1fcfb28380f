"""What documents and lists of ids must be to be written; the limits are those of document.proto."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.recall.attributes import check_text, check_value, nearest
from sidecar.recall.vectors import check_vector
from sidecar.types import Document, Schema

MAX_DOCUMENTS = 1000
MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 1 << 20
MAX_BATCH_BYTES = 16 << 20


def check_documents(
    documents: Sequence[Document], schema: Schema, dimensions: int | None, path: str = "documents"
) -> None:
    """Raises InvalidFieldError naming the first field at fault ("documents[3].vector").

    `dimensions` are those of a caller's vectors; None: the collection takes none.
    """
    _check_count(len(documents), path)
    _check_unique([document.doc_id for document in documents], path)
    total = 0
    for position, document in enumerate(documents):
        total += _check_document(document, schema, dimensions, f"{path}[{position}]")
    if total > MAX_BATCH_BYTES:
        raise TooLargeError(path, f"hold {total} bytes of text: give at most {MAX_BATCH_BYTES}")


def check_doc_ids(doc_ids: Sequence[str], path: str = "doc_ids") -> None:
    """Raises InvalidFieldError for an empty or too long list, or an id that cannot be one."""
    _check_count(len(doc_ids), path)
    for position, doc_id in enumerate(doc_ids):
        _check_id(doc_id, f"{path}[{position}]")


def check_expected_versions(
    versions: Sequence[int | None], count: int, field_of: Callable[[int], str]
) -> None:
    """Raises InvalidFieldError unless there are none, or one for each of `count` documents;
    `field_of` names that of a position."""
    if versions and len(versions) != count:
        raise InvalidFieldError(
            "expected_versions", f"has {len(versions)} entries: give one for each of {count}"
        )
    for position, version in enumerate(versions):
        if version is not None and version < 0:
            raise InvalidFieldError(
                field_of(position), f"is {version}: give the version that was read, or 0"
            )


def _check_count(count: int, path: str) -> None:
    if count == 0:
        raise InvalidFieldError(path, "is empty: give at least one")
    if count > MAX_DOCUMENTS:
        raise TooLargeError(path, f"has {count} entries: give at most {MAX_DOCUMENTS}")


def _check_unique(doc_ids: Sequence[str], path: str) -> None:
    first: dict[str, int] = {}
    for position, doc_id in enumerate(doc_ids):
        if doc_id in first:
            raise InvalidFieldError(
                f"{path}[{position}].doc_id",
                f"is {doc_id[:80]!r}, as is {path}[{first[doc_id]}].doc_id: send each id once",
            )
        first[doc_id] = position


def _check_id(doc_id: str, path: str) -> None:
    if not doc_id:
        raise InvalidFieldError(path, f"is empty: give 1 to {MAX_ID_BYTES} bytes")
    if len(check_text(doc_id, path)) > MAX_ID_BYTES:
        raise TooLargeError(path, f"is longer than {MAX_ID_BYTES} bytes")


def _check_document(document: Document, schema: Schema, dimensions: int | None, path: str) -> int:
    """Checks one document; returns the bytes of its text."""
    _check_id(document.doc_id, f"{path}.doc_id")
    size = _check_fields(document.fields, schema, f"{path}.fields")
    types = schema.attribute_types()
    for name, value in document.attributes.items():
        here = f'{path}.attributes["{name}"]'
        if name not in types:
            raise InvalidFieldError(here, f"is not an attribute: {nearest(name, types)}")
        check_value(value, types[name], here)
    if document.vector is not None and len(document.vector):
        if dimensions is None:
            raise InvalidFieldError(
                f"{path}.vector",
                "the collection has no bi-encoder to compare it with: leave it out",
            )
        check_vector(document.vector, dimensions, f"{path}.vector")
    return size


def _check_fields(fields: Mapping[str, str], schema: Schema, path: str) -> int:
    known = [field.name for field in schema.text_fields]
    size = 0
    for name, text in fields.items():
        here = f'{path}["{name}"]'
        if name not in known:
            raise InvalidFieldError(here, f"is not a text field: {nearest(name, known)}")
        if not isinstance(text, str):
            raise InvalidFieldError(here, f"is a {type(text).__name__}: give a string")
        size += len(check_text(text, here))
    if size > MAX_TEXT_BYTES:
        raise TooLargeError(path, f"hold {size} bytes: give at most {MAX_TEXT_BYTES}")
    if not any(text.strip() for text in fields.values()):
        raise InvalidFieldError(path, "are all empty: give at least one text")
    return size

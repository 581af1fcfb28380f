"""search.proto: the page that a search asks for."""

from __future__ import annotations

import hashlib

from sidecar.errors import InvalidFieldError
from sidecar.pipeline.paging import CURSOR_FIELD, PageQuery
from sidecar.service.messages.checks import check_bytes, check_range
from sidecar.v1 import search_pb2

DEFAULT_HITS = 200
MAX_HITS = 1000
MAX_CURSOR_BYTES = 256


def to_page(message: search_pb2.SearchRequest, top_k: int) -> PageQuery | None:
    """The page of a request of `top_k` hits; None if it asks for none. Raises
    InvalidFieldError."""
    if not message.HasField("page"):
        return None
    check_bytes(CURSOR_FIELD, message.page.cursor, MAX_CURSOR_BYTES)
    hits = max(DEFAULT_HITS, top_k)
    if message.page.HasField("hits") and not message.page.cursor:
        hits = message.page.hits
        check_range("page.hits", hits, 1, MAX_HITS)
        if hits < top_k:
            raise InvalidFieldError(
                "page.hits", f"is {hits}: give at least options.top_k, which is {top_k}"
            )
    return PageQuery(_digest(message), hits, message.page.cursor)


def _digest(message: search_pb2.SearchRequest) -> bytes:
    """Of all that the pages of a ranking have in common: what may differ from page to page is taken
    out, so that fields that are new are in."""
    common = search_pb2.SearchRequest()
    common.CopyFrom(message)
    for name in ("page", "return_fields", "highlighting"):
        common.ClearField(name)
    common.options.ClearField("top_k")
    if not common.options.ByteSize():  # absent, or only with what was taken out
        common.ClearField("options")
    return hashlib.sha256(common.SerializeToString(deterministic=True)).digest()

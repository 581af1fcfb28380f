"""Pages of a ranking that is kept, so that the later ones are of the same order as the first.

the last ranking of a search -> kept, and a cursor -> the hits after it that are still stored -> ...

A cursor is base64url, without padding, of

    version (1 byte, 1) | the ranking's key (16) | place (4) | hits shown before (4) | MAC (16)

numbers big-endian, the MAC as that of a ranking token (ranking_tokens.py). Documents that were
deleted have a place and are not shown: ranks are what the user has counted, without gaps.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import hmac
import os
import pickle
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Sequence
from dataclasses import dataclass

from sidecar.config import PagesConfig
from sidecar.errors import CursorExpiredError, InvalidFieldError
from sidecar.types import Ranking

Stored = Callable[[Sequence[str]], Awaitable[Container[str]]]

CURSOR_FIELD = "page.cursor"
VERSION = 1
KEY_BYTES = 16
MAC_BYTES = 16
# What a kept ranking takes besides its packed form: key, digest, links, objects' heads.
ENTRY_BYTES = 500
# At so many places it is looked at once, or more, what is still stored: where much was deleted, a
# page would else take a read for each hit.
LOOK_AHEAD = 100
_CONTENT = struct.Struct(f">B{KEY_BYTES}sII")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The page that a search asks for: the first, unless there is a cursor.

    `digest` is of all of the request that pages have in common, `hits` how many can be paged
    through, `incarnation` that of the collection.
    """

    digest: bytes
    hits: int
    cursor: str = ""
    incarnation: str = ""


class Pages:
    """The rankings that are being paged through. For one event loop."""

    def __init__(
        self,
        config: PagesConfig,
        secret: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Servers of one secret know one another's cursors, and say of them that they are expired;
        None: an own one."""
        self._cursors = _Cursors(secret or os.urandom(32))
        self._kept = _KeptRankings(config, clock)

    @property
    def kept_bytes(self) -> int:
        """Memory of the kept rankings."""
        return self._kept.bytes

    async def first(
        self,
        rankings: AsyncGenerator[Ranking],
        top_k: int,
        page: PageQuery,
    ) -> AsyncGenerator[Ranking]:
        """The rankings of a search, the last one kept and with the cursor of its second page."""
        async with contextlib.aclosing(rankings):
            async for ranking in rankings:
                if ranking.final:
                    ranking = await self._keep(ranking, top_k, page)
                yield ranking

    async def turn(self, page: PageQuery, top_k: int, stored: Stored) -> AsyncGenerator[Ranking]:
        """The page of a cursor, as the one, final ranking; `stored`: which documents still are.

        Raises InvalidFieldError for a cursor that is none of ours or of another request,
        CursorExpiredError where the ranking is not kept, or is of a collection that is gone.
        """
        place = self._cursors.read(page.cursor)
        packed = self._kept.get(place.key, page)
        ranking = await asyncio.to_thread(_unpacked, packed)
        chosen, end = await _still_stored(ranking, place.position, top_k, stored)
        hits = tuple(
            dataclasses.replace(ranking.hits[index], rank=rank)
            for rank, index in enumerate(chosen, start=place.shown + 1)
        )
        teams = tuple(ranking.teams[index] for index in chosen) if ranking.teams else ()
        after = _Place(place.key, end, place.shown + len(hits))
        cursor = self._cursors.sign(after) if end < len(ranking.hits) else ""
        yield dataclasses.replace(ranking, hits=hits, teams=teams, next_cursor=cursor)

    async def _keep(self, ranking: Ranking, top_k: int, page: PageQuery) -> Ranking:
        shown = min(top_k, len(ranking.hits))
        kept = dataclasses.replace(
            ranking,
            revision=1,
            hits=ranking.hits[: page.hits],
            teams=ranking.teams[: page.hits],
            swapped_rank=None,  # it is among the first page's
        )
        if shown >= len(kept.hits):
            return ranking
        key = os.urandom(KEY_BYTES)
        packed = await asyncio.to_thread(_packed, kept)
        self._kept.put(key, packed, page)
        cursor = self._cursors.sign(_Place(key, shown, shown))
        return dataclasses.replace(ranking, next_cursor=cursor)


async def _still_stored(
    ranking: Ranking, start: int, count: int, stored: Stored
) -> tuple[list[int], int]:
    """The first `count` places from `start` whose documents are stored, and the next such place:
    where the page after begins, the end of the ranking if it would be empty."""
    chosen: list[int] = []
    while len(chosen) <= count and start < len(ranking.hits):
        ahead = ranking.hits[start : start + max(LOOK_AHEAD, count + 1 - len(chosen))]
        present = await stored([hit.doc_id for hit in ahead])
        chosen += [start + index for index, hit in enumerate(ahead) if hit.doc_id in present]
        start += len(ahead)
    return chosen[:count], chosen[count] if len(chosen) > count else len(ranking.hits)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: the place in the kept ranking, and the hits shown on those before."""

    key: bytes
    position: int
    shown: int


class _Cursors:
    """Signs and reads cursors."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"sidecar page cursor", "sha256")

    def sign(self, place: _Place) -> str:
        """The cursor of a place."""
        content = _CONTENT.pack(VERSION, place.key, place.position, place.shown)
        signed = content + hmac.digest(self._key, content, "sha256")[:MAC_BYTES]
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")

    def read(self, cursor: str) -> _Place:
        """Its place. Raises InvalidFieldError, also for one that is written in another way."""
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            content = base64.urlsafe_b64decode(padded)[: _CONTENT.size]
            version, key, position, shown = _CONTENT.unpack(content)
        except (ValueError, binascii.Error, struct.error):
            raise _not_ours("is no cursor: it was cut, or is something else") from None
        place = _Place(key, position, shown)
        if version != VERSION or not hmac.compare_digest(self.sign(place), cursor):
            raise _not_ours(
                "was not given out by this server, or was changed: servers that know one another's "
                "need the same feedback.secret"
            )
        return place


def _packed(ranking: Ranking) -> bytes:
    """A ranking in a tenth of its memory, of which the bytes are known. With many hits it takes
    milliseconds, which the event loop does not have."""
    return zlib.compress(pickle.dumps(ranking, pickle.HIGHEST_PROTOCOL), 1)


def _unpacked(packed: bytes) -> Ranking:
    ranking: Ranking = pickle.loads(zlib.decompress(packed))
    return ranking


@dataclass(frozen=True, slots=True)
class _Kept:
    packed: bytes
    digest: bytes
    incarnation: str
    until: float


class _KeptRankings:
    """Packed rankings by key: the one not read for longest is dropped first."""

    def __init__(self, config: PagesConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._entries: OrderedDict[bytes, _Kept] = OrderedDict()
        self.bytes = 0

    def put(self, key: bytes, packed: bytes, page: PageQuery) -> None:
        self._add(key, _Kept(packed, page.digest, page.incarnation, self._end()))
        while self._entries:
            longest_unread, kept = next(iter(self._entries.items()))
            if self.bytes <= self._config.max_bytes and kept.until > self._clock():
                break
            self._drop(longest_unread)

    def get(self, key: bytes, page: PageQuery) -> bytes:
        """Raises CursorExpiredError, and InvalidFieldError for the cursor of another request."""
        kept = self._entries.get(key)
        if kept is None or kept.until <= self._clock():
            raise CursorExpiredError(
                "the ranking is not kept any more: search again without the cursor (this server "
                f"keeps one for {self._config.minutes:g} minutes after it was read, unless newer "
                "ones need the room; another server's, or from before a restart, it does not have)"
            )
        if kept.incarnation != page.incarnation:
            raise CursorExpiredError(
                "the ranking is of a collection that was dropped or replaced: search again without "
                "the cursor"
            )
        if kept.digest != page.digest:
            raise _not_ours(
                "is of another request: all but options.top_k, return_fields and highlighting must "
                "be as in the request that it came from"
            )
        self._drop(key)
        self._add(key, dataclasses.replace(kept, until=self._end()))
        return kept.packed

    def _end(self) -> float:
        return self._clock() + 60.0 * self._config.minutes

    def _add(self, key: bytes, kept: _Kept) -> None:
        self._entries[key] = kept
        self.bytes += len(kept.packed) + ENTRY_BYTES

    def _drop(self, key: bytes) -> None:
        self.bytes -= len(self._entries.pop(key).packed) + ENTRY_BYTES


def _not_ours(message: str) -> InvalidFieldError:
    return InvalidFieldError(CURSOR_FIELD, message)

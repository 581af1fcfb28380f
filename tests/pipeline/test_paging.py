"""Pages: what a cursor is worth, how long it is, and that pages together are the kept ranking."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import PagesConfig
from sidecar.errors import CursorExpiredError, InvalidFieldError
from sidecar.pipeline.paging import LOOK_AHEAD, PageQuery, Pages
from sidecar.pipeline.streams import last_ranking
from sidecar.types import Hit, Ranking, Stage, StageReport, StageScore, StageState

FIRST = PageQuery(b"digest", 200, incarnation="one")
SECRET = b"of all servers"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ranking_of(count: int, interleaved: bool = False) -> Ranking:
    hits = tuple(
        Hit(
            f"d{n:04}",
            n + 1,
            Stage.FUSED,
            1.0 / (n + 1),
            scores=(StageScore(Stage.LEXICAL, n + 1, 3.0), StageScore(Stage.FUSED, n + 1, 0.5)),
            group=f"g{n % 3}",
        )
        for n in range(count)
    )
    teams = tuple("ab"[n % 2] for n in range(count)) if interleaved else ()
    reports = (StageReport(Stage.FUSED, StageState.COMPLETE),)
    return Ranking(3, Stage.FUSED, True, True, hits, reports, "canary", 1, teams, reports)


async def stream(*rankings: Ranking) -> AsyncGenerator[Ranking]:
    for ranking in rankings:
        yield ranking


async def first(pages: Pages, ranking: Ranking, top_k: int, page: PageQuery = FIRST) -> Ranking:
    return await last_ranking(pages.first(stream(ranking), top_k, page))


async def turn(
    pages: Pages,
    cursor: str,
    top_k: int = 10,
    digest: bytes = b"digest",
    incarnation: str = "one",
    deleted: Sequence[str] = (),
) -> Ranking:
    async def stored(doc_ids: Sequence[str]) -> set[str]:
        assert len(doc_ids) <= max(LOOK_AHEAD, top_k + 1)
        return set(doc_ids) - set(deleted)

    page = PageQuery(digest, 1, cursor, incarnation)
    return await last_ranking(pages.turn(page, top_k, stored))


@given(
    st.integers(0, 60),
    st.integers(1, 70),
    st.lists(st.integers(1, 15), min_size=1, max_size=12),
    st.sets(st.integers(0, 60)),
    st.booleans(),
)
def test_pages_together_are_the_ranking_without_what_was_deleted(
    count, most, sizes, deleted, interleaved
):
    async def read() -> list[tuple[Hit, str]]:
        pages, whole = Pages(PagesConfig()), ranking_of(count, interleaved)
        ranking = await first(
            pages, whole, sizes[0], PageQuery(b"digest", max(most, sizes[0]), "", "one")
        )
        shown = list(ranking.hits[: sizes[0]])
        read = list(zip(shown, ranking.teams or [""] * count, strict=False))
        for turned in range(1, 200):
            if not ranking.next_cursor:
                return read
            size = sizes[turned % len(sizes)]
            gone = [f"d{n:04}" for n in deleted]
            ranking = await turn(pages, ranking.next_cursor, size, deleted=gone)
            assert ranking.stages == whole.stages
            assert (ranking.variant, ranking.degraded, ranking.final) == ("canary", True, True)
            assert (ranking.revision, ranking.swapped_rank) == (1, None)
            assert len(ranking.hits) == size or not ranking.next_cursor
            assert ranking.hits or turned == 1  # what was deleted was so before the second
            read += zip(ranking.hits, ranking.teams or [""] * len(ranking.hits), strict=True)
        raise AssertionError("there is always another page")

    read_all = asyncio.run(read())
    kept = ranking_of(count, interleaved).hits[: max(most, sizes[0])]
    wanted = [
        hit
        for place, hit in enumerate(kept)
        if place < sizes[0] or int(hit.doc_id[1:]) not in deleted
    ]
    assert [hit.doc_id for hit, _ in read_all] == [hit.doc_id for hit in wanted]
    assert [hit.rank for hit, _ in read_all] == list(range(1, len(wanted) + 1))
    assert [(hit.score, hit.scores, hit.group) for hit, _ in read_all] == [
        (hit.score, hit.scores, hit.group) for hit in wanted
    ]
    if interleaved:
        assert all(team == "ab"[int(hit.doc_id[1:]) % 2] for hit, team in read_all)


async def test_only_the_last_ranking_is_kept():
    pages, ranking = Pages(PagesConfig()), ranking_of(30)
    early = Ranking(1, Stage.FUSED, False, False, ranking.hits, ())
    found = [one async for one in pages.first(stream(early, ranking), 10, FIRST)]
    assert found[0] == early
    assert found[1].next_cursor


async def test_a_page_can_be_read_again():
    pages = Pages(PagesConfig())
    cursor = (await first(pages, ranking_of(30), 10)).next_cursor
    once, again = await turn(pages, cursor), await turn(pages, cursor)
    assert once == again


async def test_there_is_no_cursor_after_the_last_hit():
    pages = Pages(PagesConfig())
    assert not (await first(pages, ranking_of(10), 10)).next_cursor
    cursor = (await first(pages, ranking_of(20), 10)).next_cursor
    assert not (await turn(pages, cursor)).next_cursor


def _changed(cursor: str) -> Iterator[str]:
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        yield base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    # 41 bytes and a MAC of 16: the last character has bits that say nothing.
    yield from (cursor[:-1], cursor + "A", cursor + "=", cursor + "\n", "", " ", "é", "x" * 76)


async def test_a_cursor_that_was_changed_is_refused():
    pages = Pages(PagesConfig())
    cursor = (await first(pages, ranking_of(30), 10)).next_cursor
    for changed in _changed(cursor):
        with pytest.raises(InvalidFieldError) as error:
            await turn(pages, changed)
        assert error.value.field == "page.cursor"
    assert (await turn(pages, cursor)).hits


async def test_a_cursor_of_a_server_with_another_secret_is_refused():
    cursor = (await first(Pages(PagesConfig(), b"another"), ranking_of(30), 10)).next_cursor
    with pytest.raises(InvalidFieldError):
        await turn(Pages(PagesConfig(), SECRET), cursor)


async def test_a_cursor_from_before_a_restart_is_expired():
    cursor = (await first(Pages(PagesConfig(), SECRET), ranking_of(30), 10)).next_cursor
    with pytest.raises(CursorExpiredError):
        await turn(Pages(PagesConfig(), SECRET), cursor)


async def test_a_cursor_of_another_request_is_refused():
    pages = Pages(PagesConfig())
    cursor = (await first(pages, ranking_of(30), 10)).next_cursor
    with pytest.raises(InvalidFieldError):
        await turn(pages, cursor, digest=b"another")


async def test_a_cursor_of_a_collection_that_was_made_anew_is_expired():
    pages = Pages(PagesConfig())
    cursor = (await first(pages, ranking_of(30), 10)).next_cursor
    with pytest.raises(CursorExpiredError):
        await turn(pages, cursor, incarnation="two")


async def test_a_ranking_is_kept_for_some_minutes_after_it_was_read():
    clock = Clock()
    pages = Pages(PagesConfig(minutes=5.0), SECRET, clock)
    cursor = (await first(pages, ranking_of(100), 10)).next_cursor
    for _ in range(3):
        clock.now += 299.0
        cursor = (await turn(pages, cursor)).next_cursor
    clock.now += 300.0
    with pytest.raises(CursorExpiredError):
        await turn(pages, cursor)


async def test_the_ranking_that_was_not_read_for_longest_makes_room():
    pages = Pages(PagesConfig(max_bytes=20_000))
    read = (await first(pages, ranking_of(30), 10)).next_cursor
    unread = (await first(pages, ranking_of(30), 10)).next_cursor
    for _ in range(100):
        newest = (await first(pages, ranking_of(30), 10)).next_cursor
        assert (await turn(pages, read)).hits
    assert (await turn(pages, newest)).hits
    with pytest.raises(CursorExpiredError):
        await turn(pages, unread)


async def test_what_is_read_no_more_does_not_stay():
    clock = Clock()
    pages = Pages(PagesConfig(), SECRET, clock)
    for _ in range(20):
        cursor = (await first(pages, ranking_of(30), 10)).next_cursor
        assert (await turn(pages, cursor)).hits
    full = pages.kept_bytes
    clock.now += 301.0
    await first(pages, ranking_of(30), 10)
    assert 0 < pages.kept_bytes < full / 10


async def test_after_many_deletions_a_page_takes_few_reads():
    pages, reads = Pages(PagesConfig()), 0
    page = PageQuery(b"digest", 1000, incarnation="one")
    ranking = await first(pages, ranking_of(1000), 1, page)

    async def stored(doc_ids: Sequence[str]) -> set[str]:
        nonlocal reads
        reads += 1
        return set(doc_ids) & {"d0900"}

    asked = PageQuery(b"digest", 1, ranking.next_cursor, "one")
    turned = await last_ranking(pages.turn(asked, 1, stored))
    assert [(hit.doc_id, hit.rank) for hit in turned.hits] == [("d0900", 2)]
    assert turned.next_cursor == ""
    assert reads <= 10

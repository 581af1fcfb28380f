"""The outbox: order, conflation, bound."""

from __future__ import annotations

import asyncio

from sidecar.service.outbox import Frame, Outbox
from sidecar.v1.ranking_pb2 import Ranking
from sidecar.v1.rerank_pb2 import SessionStarted


def ranking(request_id: str, revision: int, final: bool = False) -> Frame:
    return Frame(request_id=request_id, ranking=Ranking(revision=revision, final=final))


async def flushed(outbox: Outbox) -> list[Frame]:
    written: list[Frame] = []

    async def write(frame: Frame) -> None:
        written.append(frame)

    outbox.close()
    await outbox.write_to(write)
    return written


async def test_a_waiting_ranking_is_replaced_by_a_newer_one_and_the_final_one_stays() -> None:
    ended: list[str] = []
    outbox = Outbox(10, ended.append)
    outbox.put(Frame(request_id="a", started=SessionStarted()))
    outbox.put(ranking("a", 1))
    outbox.put(ranking("b", 1))
    outbox.put(ranking("a", 2))
    outbox.put(ranking("a", 3, final=True), last=True)
    written = await flushed(outbox)
    assert [(frame.request_id, frame.ranking.revision) for frame in written] == [
        ("a", 0),
        ("a", 3),
        ("b", 1),
    ]
    assert ended == ["a"]


async def test_discarded_frames_are_not_written() -> None:
    outbox = Outbox(10, lambda _: None)
    outbox.put(ranking("a", 1))
    outbox.put(ranking("b", 1))
    outbox.discard("a")
    assert [frame.request_id for frame in await flushed(outbox)] == ["b"]


async def test_room_is_waited_for() -> None:
    outbox = Outbox(2, lambda _: None)
    outbox.put(ranking("a", 1))
    await outbox.wait_room()
    outbox.put(ranking("b", 1))
    waiting = asyncio.create_task(outbox.wait_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.discard("a")
    await waiting


async def test_an_id_is_free_before_its_last_frame_is_written() -> None:
    ended: list[str] = []
    outbox = Outbox(10, ended.append)
    outbox.put(ranking("a", 1, final=True), last=True)
    outbox.close()

    async def write(frame: Frame) -> None:
        assert ended == [frame.request_id]

    await outbox.write_to(write)
    assert ended == ["a"]


async def test_a_discarded_frame_does_not_end_the_writer() -> None:
    outbox = Outbox(10, lambda _: None)
    written: list[str] = []

    async def write(frame: Frame) -> None:
        written.append(frame.request_id)

    writing = asyncio.create_task(outbox.write_to(write))
    await asyncio.sleep(0)
    outbox.put(ranking("a", 1))
    outbox.discard("a")
    await asyncio.sleep(0)
    outbox.put(ranking("b", 1))
    outbox.close()
    await writing
    assert written == ["b"]

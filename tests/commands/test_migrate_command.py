"""What `sidecar migrate` says while it goes on and at the end."""

from __future__ import annotations

import pytest

from sidecar.commands.migrate import Shown, to_lines
from sidecar.v1 import collection_pb2, maintenance_pb2


def test_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    shown = Shown(lambda: clock[0])
    for now, step, done in [
        (0.0, "copies documents", 1_000),
        (5.0, "copies documents", 1_400),
        (20.0, "copies documents", 3_000),
        (21.0, "compares documents", 0),
    ]:
        clock[0] = now
        shown.tell(maintenance_pb2.Progress(step=step, done=done, total=5_000))
    shown.end()
    assert capsys.readouterr().err.splitlines() == [
        "copies documents: 1,000 of 5,000",
        "copies documents: 3,000 of 5,000, 100 a second, 20 s left",
        "compares documents: 0 of 5,000",
    ]


def test_what_was_done() -> None:
    migrated = maintenance_pb2.MigratedCollection(
        collection="things",
        document_count=1_200,
        backend=collection_pb2.Backend(name="cluster", index="sidecar-things"),
        compared_documents=1_200,
        compared_vectors=12,
        probes=24,
        lexical_overlap=0.987,
        dense_overlap=1.0,
    )
    migrated.held.FromMilliseconds(120)
    assert to_lines(migrated, was_moved=True) == [
        "things: 1,200 documents, kept in backend 'cluster', index 'sidecar-things'",
        "compared: 1,200 documents, 12 vectors; the first 100 for 24 queries: 98.7% of the lexical "
        "leg and 100.0% of the dense leg are the same",
        "writes waited for 120 ms",
    ]
    back = maintenance_pb2.MigratedCollection(collection="things", discarded=["2 documents"])
    assert to_lines(back, was_moved=False) == [
        "things: 0 documents, kept in the server's own folder",
        "discarded: 2 documents",
    ]

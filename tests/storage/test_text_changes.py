"""Texts are replayed from any state on, deletions included until they are forgotten."""

from __future__ import annotations

import numpy as np
from recalling import a_document
from storing import write

from sidecar.storage.documents import DocumentStore


def test_replay_gives_the_state_whatever_the_history(store: DocumentStore):
    rng = np.random.default_rng(1)
    snapshots = {0: {}}
    for _ in range(60):
        numbers = rng.choice(12, size=3, replace=False)
        if rng.random() < 0.4:
            store.delete([f"d{n:04}" for n in numbers])
        else:
            write(store, *(a_document(int(n), f"v{rng.integers(99)}") for n in numbers))
        snapshots[store.sequence] = {
            c.ordinal: c.fields["text"] for c in store.text_changes(0, 1000, 10**9).written
        }
    final = snapshots[store.sequence]
    for after, state in snapshots.items():
        for limit, characters in ((1, 10**9), (4, 10**9), (1000, 30)):
            replayed, at = dict(state), after
            while at < store.sequence:
                changes = store.text_changes(at, limit, characters)
                assert changes.upto > at
                for ordinal in changes.deleted:
                    replayed.pop(ordinal, None)
                replayed |= {c.ordinal: c.fields["text"] for c in changes.written}
                at = changes.upto
            assert replayed == final


def test_tombstones_are_forgotten_only_by_pruning(store: DocumentStore):
    write(store, a_document(1), a_document(2))
    assert store.delete(["d0001", "nope", "d0001"]) == (3, [1])
    assert store.delete(["nope"]) == (0, [])
    assert store.text_changes(2, 10, 100).deleted == [1]
    store.prune(2)
    assert store.pruned_sequence() == 0
    store.prune(3)
    assert (store.pruned_sequence(), store.text_changes(2, 10, 100).deleted) == (3, [])

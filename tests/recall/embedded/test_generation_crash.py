"""kill -9 while generations are built, exchanged and dropped beside writes.

The child writes from a seed into several collections and, beside it, swaps two bi-encoders for
ever, saying what it has done and is about to do. The parent kills it at a random point: what was
acknowledged is there, and every bi-encoder that was promised finds it, in every collection.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
from killing import Teller, encoders, make_small, promised, start, swap_for_ever
from recalling import SCHEMA, WAIT_SECONDS, a_document, assert_same, scanned

from sidecar.config import Config
from sidecar.recall.catalog import Catalog
from sidecar.recall.encoding import identity_of

ROUNDS = 4
NAMES = ("apples", "pears", "quinces")
DOCUMENTS = 40
Held = dict[str, dict[str, str]]


def operation(seed: int, number: int) -> tuple[str, str, list[str], str]:
    """The operation of that number: what, in which collection, which documents, which text."""
    rng = np.random.default_rng([seed, number])
    what = "delete" if rng.random() < 0.3 else "upsert"
    chosen = sorted(rng.choice(DOCUMENTS, size=rng.integers(1, 8), replace=False).tolist())
    return what, NAMES[rng.integers(3)], [f"d{n:04}" for n in chosen], f"v{number}"


def run(catalog: Catalog, seed: int, number: int) -> None:
    what, name, doc_ids, text = operation(seed, number)
    if what == "delete":
        catalog.get(name).delete(doc_ids)
    else:
        catalog.get(name).upsert([a_document(int(each[1:]), text) for each in doc_ids])


def replay(held: Held, seed: int, number: int) -> None:
    what, name, doc_ids, text = operation(seed, number)
    for doc_id in doc_ids:
        if what == "delete":
            held[name].pop(doc_id, None)
        else:
            held[name][doc_id] = text


def child(folder: str, seed: str, first: str, leading: str) -> None:
    """Writes and swaps for ever."""
    make_small()
    both = encoders()
    catalog = Catalog.open(Path(folder), both[int(leading)], Config())
    tell = Teller()
    tell("open")
    swapping = (catalog, both, int(leading), tell)
    threading.Thread(target=swap_for_ever, args=swapping, daemon=True).start()
    number = int(first)
    while True:
        run(catalog, int(seed), number)
        tell("done", number)
        number += 1


def kill_after(folder: Path, seed: int, first: int, leading: int, wait: float) -> list[list[str]]:
    """Runs the child for a while and kills it; returns what it said."""
    given = (str(folder), str(seed), str(first), str(leading))
    with start("test_generation_crash.child", *given) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said = [line.split() for line in process.stdout.read().splitlines()]
        assert process.wait() == -signal.SIGKILL
    return said


def check(folder: Path, which: int, held: Held) -> None:
    encoder = encoders()[which]
    catalog = Catalog.open(folder, encoder, Config())
    assert catalog.unopened() == {}
    for name in NAMES:
        collection = catalog.get(name)
        assert collection.describe().bi_encoder_revision == encoder.contract.revision
        assert collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
        findings = collection.verify()
        assert findings == []
        read = collection.fields([f"d{n:04}" for n in range(DOCUMENTS)])
        assert {doc_id: fields["text"] for doc_id, fields in read.items()} == held[name]
        query = f"common {next(iter(held[name].values()), '')}"
        leg = collection.dense(encoder.encode_queries([query])[0], None, 100, identity_of(encoder))
        found = [(each.doc_id, each.score) for each in leg.recalled]
        assert_same(found, scanned(held[name], encoder, query, 100))
        assert {doc_id for doc_id, _ in found} == set(held[name])
    catalog.close()


def has_happened(folder: Path, held: Held) -> bool:
    """Whether the documents are as held; else the operation under way has happened, too."""
    catalog = Catalog.open(folder, None, Config())
    read = {
        name: catalog.get(name).fields([f"d{n:04}" for n in range(DOCUMENTS)]) for name in NAMES
    }
    catalog.close()
    return held == {
        name: {doc_id: fields["text"] for doc_id, fields in found.items()}
        for name, found in read.items()
    }


def test_every_promised_bi_encoder_finds_what_was_acknowledged(tmp_path: Path):
    seed = int.from_bytes(os.urandom(4), "little")
    rng = np.random.default_rng(seed)
    catalog = Catalog.open(tmp_path, encoders()[0], Config())
    for name in NAMES:
        catalog.create(name, SCHEMA)
    catalog.close()
    held: Held = {name: {} for name in NAMES}
    number, leading, swaps = 0, 0, 0
    for _ in range(ROUNDS):
        wait = float(rng.random())
        said = kill_after(tmp_path, seed, number, leading, wait)
        done = [int(which) for what, which in said if what == "done"]
        for each in done:
            replay(held, seed, each)
        number += len(done)
        if not has_happened(tmp_path, held):
            replay(held, seed, number)
            number += 1
        served = promised(said, leading)
        swaps += sum(what == "leads" for what, _ in said)
        print(json.dumps({"seed": seed, "wait": wait, "done": len(done), "served": served}))
        for which in served:
            check(tmp_path, which, held)
        leading = served[-1]
    print(json.dumps({"operations": number, "swaps": swaps}))
    assert number > ROUNDS

"""A server that a test kills: fake models, small constants, and points at which it kills itself.

It serves collections while two bi-encoders are swapped for ever, and says on its output what it has
done and is about to do. Nothing of the program is made for this: a point is a function of it that
is wrapped here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from fakes import FakeBiEncoder
from recalling import Encoder

from sidecar.recall.catalog import Catalog
from sidecar.recall.encoding import identity_of

# The longest that a kill comes after the beginning of a lexical commit; one takes about as long.
COMMIT_SECONDS = 0.1


def encoders() -> list[FakeBiEncoder]:
    """The two that are swapped."""
    return [FakeBiEncoder(), Encoder("fake-2", 48)]


def swap_for_ever(
    catalog: Catalog, both: list[FakeBiEncoder], leading: int, tell: Callable[..., None]
) -> None:
    """Builds a generation of the other bi-encoder, lets it lead, drops the one before; again."""
    while True:
        new = 1 - leading
        catalog.add_generation(both[new])
        assert catalog.wait_generation(identity_of(both[new]), None)
        tell("built", new)
        catalog.lead_with(both[new])
        tell("leads", new)
        tell("dropping", leading)
        catalog.drop_generation(identity_of(both[leading]))
        leading = new


def promised(said: list[list[str]], leading: int) -> list[int]:
    """The bi-encoders by which everything must be found, by what was said last."""
    both = [leading]
    for what, which in said:
        match what:
            case "built" | "leads":
                both = [0, 1]
            case "dropping":
                both = [1 - int(which)]
    return both


class Teller:
    """Says things on the output, each in one write, or the kill may fall between two words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, *words: object) -> None:
        with self._lock:
            print(" ".join(map(str, words)), flush=True)


def make_small() -> None:
    """So that snapshots and many chunks fall into a short life."""
    import sidecar.recall.embedded.derived as derived
    import sidecar.recall.embedded.encoding_turns as turns
    import sidecar.recall.embedded.generation as generation
    import sidecar.recall.embedded.upkeep as upkeep
    import sidecar.storage.stored_generations as stored_generations

    generation.SAVE_CHANGED_LEAST = 20
    upkeep.BUSY_SECONDS = 0.1
    derived.TEXT_CHUNK_DOCUMENTS = 15
    turns.MAX_CHUNK_DOCUMENTS = 3
    stored_generations.EMPTY_CHUNK_DOCUMENTS = 5


# The points


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at(count: int) -> Callable[[], None]:
    """Dies when it is called for the so many-th time."""
    lock, left = threading.Lock(), [count]

    def called() -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                _die()

    return called


def _around(owner: Any, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    wrapped = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        before()
        answer = wrapped(*given, **named)
        after()
        return answer

    setattr(owner, name, call)


def _nothing() -> None:
    pass


def _around_commit(before: Callable[[], None], after: Callable[[], None]) -> None:
    from sidecar.storage.database import Database

    writing = Database.writing

    @contextlib.contextmanager
    def wrapped(self: Database) -> Iterator[Any]:
        with writing(self) as connection:
            yield connection
            before()
        after()

    Database.writing = wrapped  # type: ignore[method-assign]


def _soon(count: int) -> Callable[[], None]:
    """Dies within COMMIT_SECONDS after the so many-th call."""
    wait = random.Random(count).random() * COMMIT_SECONDS

    def late() -> None:
        time.sleep(wait)
        _die()

    lock, left = threading.Lock(), [count]

    def called() -> None:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                threading.Thread(target=late, daemon=True).start()

    return called


def arm(point: str, count: int) -> None:
    """Lets this process kill itself when it comes to a point for the so many-th time."""
    import sidecar.storage.snapshots as snapshots
    from sidecar.recall.embedded.lexical import LexicalIndex
    from sidecar.storage.documents import DocumentStore
    from sidecar.storage.stored_generations import StoredGeneration

    here = _at(count)
    match point:
        case "before a commit":
            _around_commit(here, _nothing)
        case "after a commit":
            _around_commit(_nothing, here)
        case "in a lexical commit":
            _around(LexicalIndex, "apply", _soon(count), _nothing)
        case "in a snapshot, before its manifest":
            _around(snapshots, "write_whole", here, _nothing)
        case "in a snapshot, after its manifest":
            _around(snapshots, "write_whole", _nothing, here)
        case "before a switch of generations":
            _around(DocumentStore, "lead", here, _nothing)
        case "after a switch of generations":
            _around(DocumentStore, "lead", _nothing, here)
        case "while a generation is dropped":
            _around(StoredGeneration, "_empty_some", _nothing, here)
        case _:
            raise AssertionError(f"no such point: {point}")


# Most often reached: commits; a switch comes a few times a second.
POINTS = {
    "before a commit": 60,
    "after a commit": 60,
    "in a lexical commit": 15,
    "in a snapshot, before its manifest": 8,
    "in a snapshot, after its manifest": 8,
    "before a switch of generations": 4,
    "after a switch of generations": 4,
    "while a generation is dropped": 20,
}


def serve(folder: str, leading: int, point: str, count: int, swaps: bool) -> None:
    """The child: serves for ever, or until it has come to a point for the so many-th time.

    `point` may be empty. `swaps`: bi-encoders are swapped meanwhile.
    """
    import serving

    make_small()
    if point:
        arm(point, count)
    both, tell = encoders(), Teller()
    load = serving.loader(encoder=both[leading])

    def load_and_swap(config: Any, data_dir: Path) -> Any:
        loaded = load(config, data_dir)
        swapping = (loaded.parts.catalog, both, leading, tell)
        if swaps:
            threading.Thread(target=swap_for_ever, args=swapping, daemon=True).start()
        return loaded

    async def run() -> None:
        await serving.serve(
            serving.CONFIG, Path(folder), lambda address: tell("at", address), load=load_and_swap
        )

    asyncio.run(run())


def start(function: str, *given: object) -> subprocess.Popen[str]:
    """A process that calls a function of a test module, "module.function", and is listened to."""
    tests = Path(__file__).parent
    folders = (tests, tests.parent, tests / "recall" / "embedded")
    module, _, name = function.rpartition(".")
    return subprocess.Popen(
        [sys.executable, "-c", f"import {module}; {module}.{name}(*{given!r})"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
    )


@dataclass
class Server:
    """Such a server in a process of its own. `said` are its words, line by line, until its end."""

    process: subprocess.Popen[str]
    address: str
    said: list[list[str]]


@contextlib.contextmanager
def a_server(
    folder: Path, leading: int = 0, point: str = "", count: int = 0, swaps: bool = True
) -> Iterator[Server]:
    """A server that has begun to serve, or has no address if it ended before; killed and listened
    to until its end, if it lives on."""
    with start("killing.serve", str(folder), leading, point, count, swaps) as process:
        said: list[list[str]] = []
        address: SimpleQueue[str] = SimpleQueue()
        listener = threading.Thread(target=_listen, args=(process, said, address))
        listener.start()
        try:
            yield Server(process, address.get(), said)
        finally:
            process.kill()
            listener.join()


def _listen(
    process: subprocess.Popen[str], said: list[list[str]], address: SimpleQueue[str]
) -> None:
    """Until the end of the process."""
    assert process.stdout is not None
    for line in process.stdout:
        what, which = line.split()
        if what == "at":
            address.put(which)
        else:
            said.append([what, which])
    address.put("")

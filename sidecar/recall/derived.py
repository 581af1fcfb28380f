"""What is derived from a collection's documents: the lexical index, the dense one of each
generation, and the two threads that derive them.

A write commits to the truth and calls `notify`. The index thread then reads everything above each
index's watermark, however much has piled up, and applies it; the watermark goes into the same
commit, so after a crash an index is at most behind, and is caught up by the same step. An index
that cannot be opened is set aside and built from the truth. The encoding thread gives documents
the vectors that did not come with their write, the leading generation's first.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.models.base import BiEncoder
from sidecar.models.workers import yield_to_others
from sidecar.recall.encoding import identity_of
from sidecar.recall.generation import Generation, dense_folder
from sidecar.recall.lexical import LexicalIndex, open_lexical
from sidecar.recall.turns import Turns
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import remove_tree, set_aside, storage_errors, sync_folder
from sidecar.storage.generations import BiEncoderIdentity

LEXICAL_FOLDER = "lexical"
# Where format 1 had the one dense index, now that of the first generation.
FIRST_DENSE_FOLDER = "dense"
TEXT_CHUNK_DOCUMENTS = 5_000
TEXT_CHUNK_CHARACTERS = 32_000_000
MAX_RETRY_SECONDS = 30.0

_log = logging.getLogger(__name__)


class DerivedIndexes:
    """The indexes and generations of a collection. `leading` is the generation that new documents
    get their vectors of at once; None where its bi-encoder is not at hand."""

    def __init__(
        self, folder: Path, store: DocumentStore, config: DenseIndexConfig, turns: Turns
    ) -> None:
        self._folder = folder
        self._store = store
        self._config = config
        self._turns = turns
        self._changed = threading.Condition()
        self._closing = False
        self._hidden: dict[int, int] = {}
        self._generations: dict[BiEncoderIdentity, Generation] = {}
        # How many calls of a generation are under way, by identity.
        self._users: dict[BiEncoderIdentity, int] = {}
        self._encoding = threading.Lock()
        self._pruned = 0
        self.failure = ""
        self.repairs: list[str] = []
        self.leading: Generation | None = None
        self._tidy_folders()
        self.lexical = self._open_lexical()
        self._lexical_ready = store.sequence
        self._threads = [
            threading.Thread(target=self._run, name=f"index {folder.name}", daemon=True),
            threading.Thread(target=self._run_encoding, name=f"encode {folder.name}", daemon=True),
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def notify(self) -> None:
        """The truth has changed."""
        with self._changed:
            self._changed.notify_all()

    def hide(self, ordinals: Iterable[int], sequence: int) -> None:
        """Documents deleted by a write are asked for in excess until the indexes forget them."""
        with self._changed:
            if sequence > self._least_watermark():
                self._hidden |= dict.fromkeys(ordinals, sequence)

    @property
    def hidden_count(self) -> int:
        """Deleted documents that an index may still hold."""
        return len(self._hidden)

    def close(self, save: bool = True) -> None:
        """Stops the threads, writes snapshots of the dense indexes that changed, closes all."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        if save:
            try:
                for generation in self._generations.values():
                    generation.save()
                self._prune()
            except StorageError as error:
                _log.warning("%s: no snapshot, the next start replays: %s", self._folder, error)
        self.lexical.close()

    # Generations

    def generation(self, identity: BiEncoderIdentity | None) -> Generation | None:
        """The generation of a bi-encoder, None: the leading one. None if it is not at hand."""
        return self.leading if identity is None else self._generations.get(identity)

    def generations(self) -> list[Generation]:
        """Those at hand, the leading one first."""
        others = [each for each in self._generations.values() if each is not self.leading]
        return others if self.leading is None else [self.leading, *others]

    def add(self, bi_encoder: BiEncoder) -> None:
        """Starts, or goes on with, the generation of a bi-encoder; one that is at hand keeps the
        bi-encoder that it has. Raises StorageError."""
        identity = identity_of(bi_encoder)
        if identity in self._generations:
            return
        stored = self._store.add_generation(identity)
        added = Generation(self._folder, self._store, bi_encoder, stored, self._config)
        if added.repair:
            self.repairs.append(added.repair)
        with self._changed:
            self._generations = {**self._generations, identity: added}
            self._users[identity] = 0
            self._changed.notify_all()

    def lead(self, identity: BiEncoderIdentity) -> None:
        """Makes a generation at hand the leading one; durable once returned.

        Raises StorageError.
        """
        self._store.lead(identity)
        with self._changed:
            self.leading = self._generations[identity]
            self._changed.notify_all()

    def drop(self, identity: BiEncoderIdentity) -> None:
        """Removes a generation that does not lead, its vectors and its index. Once returned, its
        bi-encoder is not called any more. Raises StorageError; then it can be tried again."""
        with self._changed:
            self._generations = {i: g for i, g in self._generations.items() if i != identity}
            self._changed.wait_for(lambda: not self._users.get(identity))
            self._users.pop(identity, None)
        stored = self._store.generations.get(identity)
        if stored is not None:
            self._store.drop_generation(identity)
            with storage_errors(self._folder):
                remove_tree(dense_folder(self._folder, stored))

    @contextlib.contextmanager
    def using_leading(self) -> Iterator[Generation | None]:
        """The leading generation, which is not dropped meanwhile."""
        with self._changed:
            generation = self.leading
            self._count_user(generation, 1)
        try:
            yield generation
        finally:
            self._leave(generation)

    @contextlib.contextmanager
    def encoding_paused(self) -> Iterator[None]:
        """While no document gets its vector later than with its write."""
        with self._encoding:
            yield

    # How far the indexes are

    @property
    def searchable_sequence(self) -> int:
        """All writes up to it are in the lexical and the leading index; 0 while a leg is not
        served."""
        lexical, leading = self.lexical.watermark, self.leading
        if lexical < self._lexical_ready:
            return 0
        return lexical if leading is None else min(lexical, leading.searchable_sequence)

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """Whether a write is searchable, after waiting for it at most so long (None: as needed)."""
        return self._wait(lambda: self.searchable_sequence >= sequence, timeout_seconds)

    def wait_served(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether a generation can be searched, likewise."""

        def is_served() -> bool:
            generation = self._generations.get(identity)
            return generation is not None and generation.is_served

        return self._wait(is_served, timeout_seconds)

    def wait_up_to_date(self, identity: BiEncoderIdentity, timeout_seconds: float) -> bool:
        """Whether all documents are found by a generation, likewise."""
        generation = self._generations[identity]
        return self._wait(
            lambda: generation.is_served and generation.searchable_sequence >= self._store.sequence,
            timeout_seconds,
        )

    def wait_indexed(self, timeout_seconds: float) -> bool:
        """Whether every index has all that there is for it, likewise."""
        return self._wait(lambda: not self._has_work(), timeout_seconds)

    def wait_ready(self, most_writes: int, timeout_seconds: float) -> None:
        """Waits until both legs have what was there at the start, if that is not too many writes.

        Documents without a vector are not waited for: to encode them may take hours.
        """
        if self._writes_behind() <= most_writes:
            self._wait(lambda: self._writes_behind() == 0, timeout_seconds)

    def lexical_fault(self) -> str:
        """Why the lexical leg cannot be served; empty if it can."""
        behind = self._lexical_ready - self.lexical.watermark
        return f"the lexical index is {behind} writes behind; {self._state()}" if behind > 0 else ""

    def dense_fault(self, generation: Generation) -> str:
        """Why a generation cannot be served; empty if it can."""
        return generation.fault(self._store.count, self._state())

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._closing, timeout_seconds)
        return condition()

    def _writes_behind(self) -> int:
        """How many of the writes that were there at the start the slower leg lacks."""
        behind = self._lexical_ready - self.lexical.watermark
        return max(0, behind, self.leading.writes_behind if self.leading else 0)

    def _least_watermark(self) -> int:
        complete = (each for each in self._generations.values() if each.is_complete)
        dense = (each.dense.watermark for each in complete)
        return min(self.lexical.watermark, self._store.number, *dense)

    def _state(self) -> str:
        return f"the last attempt failed: {self.failure}" if self.failure else "being indexed"

    # The index thread

    def _run(self) -> None:
        """Catches up whenever there is something to catch up with; a failure is tried again."""
        delay = 0.0
        while self._wait_for_work(delay):
            try:
                self._catch_up()
                self.failure, delay = "", 0.0
            except Exception as error:
                # Nothing is lost: the truth has it all. The legs go on with what they have.
                _log.exception("indexing of %s failed", self._folder)
                self.failure, delay = str(error), min(MAX_RETRY_SECONDS, 2 * delay + 1.0)

    def _wait_for_work(self, delay: float) -> bool:
        with self._changed:
            if delay:
                self._changed.wait_for(lambda: self._closing, delay)
            self._changed.wait_for(lambda: self._closing or self._has_work())
            return not self._closing

    def _has_work(self) -> bool:
        behind = self.lexical.watermark < self._store.sequence
        return behind or not all(each.is_indexed for each in self._generations.values())

    def _catch_up(self) -> None:
        while self._has_work() and not self._closing:
            # One index that fails does not hold the others back.
            failures = [_failure_of(self._step_lexical), *self._each(Generation.catch_up)]
            self._advance()
            _raise_first(failures)
        if not self._closing:
            _raise_first(self._each(lambda generation: generation.dense.settle()))
            _raise_first(self._each(Generation.save_if_due))
            self._prune()

    def _step_lexical(self) -> None:
        if self.lexical.watermark < self._store.sequence:
            self.lexical.apply(
                self._store.text_changes(
                    self.lexical.watermark, TEXT_CHUNK_DOCUMENTS, TEXT_CHUNK_CHARACTERS
                )
            )

    def _each(self, step: Callable[[Generation], object]) -> list[Exception | None]:
        """Makes a step with every generation, the leading one first; how each failed."""
        failures: list[Exception | None] = []
        for generation in self.generations():
            with self._using(generation) as is_there:
                if is_there:
                    failures.append(_failure_of(functools.partial(step, generation)))
        return failures

    def _advance(self) -> None:
        with self._changed:
            least = self._least_watermark()
            self._hidden = {o: s for o, s in self._hidden.items() if s > least}
            self._changed.notify_all()

    def _prune(self) -> None:
        """Forgets deletions that all indexes have on disk."""
        saved = [generation.dense.saved_watermark for generation in self._generations.values()]
        upto = min(self.lexical.watermark, self._store.number, *saved)
        if upto > self._pruned:
            self._store.prune(upto)
            self._pruned = upto

    # The encoding thread

    def _run_encoding(self) -> None:
        """Encodes whenever a generation lacks vectors; a failure is tried again."""
        yield_to_others()
        retries: dict[Generation, tuple[float, float]] = {}  # when, and after which delay
        while self._wait_for_encoding(retries):
            for generation in self._to_encode(retries):
                with self._using(generation) as is_there:
                    encode = functools.partial(self._encode, generation)
                    failure = _failure_of(encode) if is_there else None
                generation.failure = str(failure or "")
                if failure is None:
                    retries.pop(generation, None)
                    continue
                _log.error("encoding of %s failed: %s", self._folder, failure)
                delay = min(MAX_RETRY_SECONDS, 2 * retries.get(generation, (0, 0.0))[1] + 1.0)
                retries[generation] = (time.monotonic() + delay, delay)

    def _wait_for_encoding(self, retries: dict[Generation, tuple[float, float]]) -> bool:
        while True:
            with self._changed:
                next_retry = min((when for when, _ in retries.values()), default=None)
                seconds = None if next_retry is None else max(0.0, next_retry - time.monotonic())
                self._changed.wait_for(
                    lambda: self._closing or bool(self._to_encode(retries)), seconds
                )
                if self._closing or self._to_encode(retries):
                    return not self._closing

    def _to_encode(self, retries: dict[Generation, tuple[float, float]]) -> list[Generation]:
        now = time.monotonic()
        return [
            each
            for each in self.generations()
            if not each.is_encoded and retries.get(each, (now, 0.0))[0] <= now
        ]

    def _encode(self, generation: Generation) -> None:
        def encode(limit: int) -> int:
            with self._encoding:
                return 0 if self._closing else generation.encode(limit)

        def rest(seconds: float) -> None:
            self.notify()
            with self._changed:
                self._changed.wait_for(lambda: self._closing, seconds)

        self._turns.take(encode, rest)
        self.notify()

    # Generations in use

    @contextlib.contextmanager
    def _using(self, generation: Generation) -> Iterator[bool]:
        """Whether a generation is still there; then it is not dropped meanwhile."""
        with self._changed:
            is_there = self._generations.get(generation.identity) is generation
            user = generation if is_there else None
            self._count_user(user, 1)
        try:
            yield is_there
        finally:
            self._leave(user)

    def _leave(self, generation: Generation | None) -> None:
        with self._changed:
            self._count_user(generation, -1)
            self._changed.notify_all()

    def _count_user(self, generation: Generation | None, change: int) -> None:
        if generation is not None:
            self._users[generation.identity] += change

    # Opening

    def _tidy_folders(self) -> None:
        """Gives the index of format 1 its place, and removes what a crash left of dropped ones."""
        stored = self._store.generations.values()
        kept = {dense_folder(self._folder, each): each for each in stored}
        with storage_errors(self._folder):
            first = self._folder / FIRST_DENSE_FOLDER
            for folder, each in kept.items():
                if each.generation == 1 and first.is_dir() and not folder.exists():
                    first.rename(folder)
                    sync_folder(self._folder)
            for folder in self._folder.glob("dense-*"):
                if folder.suffix == "" and folder not in kept:
                    remove_tree(folder)

    def _open_lexical(self) -> LexicalIndex:
        folder = self._folder / LEXICAL_FOLDER
        try:
            index = open_lexical(folder, self._store.header)
            try:
                self._check_watermark(index)
            except StorageError:
                index.close()
                raise
            return index
        except StorageError as error:
            aside = set_aside(folder)
            self.repairs.append(
                "the lexical index could not be used and is built anew from the documents, the old "
                f"one is kept as {aside}: {error.message}"
            )
            _log.warning("%s", self.repairs[-1])
        return open_lexical(folder, self._store.header)

    def _check_watermark(self, index: LexicalIndex) -> None:
        """Raises StorageError if an index cannot catch up by what the truth still knows."""
        known, pruned = self._store.sequence, self._store.pruned_sequence()
        if index.watermark > known or (index.count and index.watermark < pruned):
            raise StorageError(
                f"its watermark is {index.watermark}, the documents know writes {pruned} to {known}"
            )


def _failure_of(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:
        return error
    return None


def _raise_first(failures: Iterable[Exception | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure

"""What is derived from a collection's documents: the lexical index, the dense one of each
generation, and the thread that derives them.

A write commits to the truth and calls `notify`. The thread then reads everything above each index's
watermark, however much has piled up, and applies it; the watermark goes into the same commit, so
after a crash an index is at most behind, and is caught up by the same step. An index that cannot
be opened is set aside and built from the truth. Beside it, another thread gives documents the
vectors that did not come with their write, which is one more write to catch up with.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.errors import StorageError
from sidecar.recall.embedded.background_encoding import BackgroundEncoding
from sidecar.recall.embedded.encoding_turns import Turns
from sidecar.recall.embedded.generation import Generation
from sidecar.recall.embedded.generations import Generations
from sidecar.recall.embedded.hidden import Hidden
from sidecar.recall.embedded.lexical import LexicalIndex, UnopenedLexicalIndex
from sidecar.recall.embedded.opening import LEXICAL_FOLDER, open_lexical_index
from sidecar.recall.embedded.renewal import LexicalRenewal
from sidecar.recall.embedded.retries import Retry
from sidecar.recall.embedded.upkeep import Upkeep
from sidecar.storage.documents import DocumentStore
from sidecar.storage.stored_generations import BiEncoderIdentity

TEXT_CHUNK_DOCUMENTS = 5_000
TEXT_CHUNK_CHARACTERS = 32_000_000
MAX_RETRY_SECONDS = 30.0

_log = logging.getLogger(__name__)


class DerivedIndexes:
    """The lexical index and the generations of a collection."""

    def __init__(
        self, folder: Path, store: DocumentStore, config: DenseIndexConfig, turns: Turns
    ) -> None:
        self._folder = folder
        self._store = store
        self._changed = threading.Condition()
        self._closing = False
        self._hidden = Hidden()
        self._pruned = 0
        self._repairs: list[str] = []
        # One that fails does not hold the others back.
        self._lexical_retry, self._renewal_retry, self._upkeep_retry = Retry(), Retry(), Retry()
        self._retries: weakref.WeakKeyDictionary[Generation, Retry] = weakref.WeakKeyDictionary()
        self._is_upkeep_due = False
        # Of a migration that goes on: deletions after it are not forgotten. None: there is none.
        self.followed_sequence: int | None = None
        # Up to where deletions can be forgotten for the sake of others that follow the documents,
        # of those up to a number.
        self.kept: Callable[[int], int] = lambda upto: upto
        self.generations = Generations(folder, store, config, self._changed, self._wake)
        self.encoding = BackgroundEncoding(folder.name, self.generations, turns, self._changed)
        self._renewal = LexicalRenewal(folder, store)
        self.lexical = self._try_lexical()
        self._lexical_ready = store.sequence
        self._upkeep = Upkeep(
            folder, self._each, functools.partial(_failure_of, self._prune), self._wake
        )
        self._thread = threading.Thread(target=self._run, name=f"index {folder.name}", daemon=True)

    def start(self) -> None:
        """Starts the threads."""
        self._thread.start()
        self.encoding.start()

    def notify(self) -> None:
        """The truth has changed."""
        with self._changed:
            self._changed.notify_all()

    def hide(self, ordinals: Iterable[int], sequence: int) -> None:
        """Documents deleted by a write: the dense indexes forget them at once, and what the lexical
        one finds of them is passed over until it does."""
        ordinals = list(ordinals)
        for generation in self.generations:
            generation.dense.hide(ordinals, sequence)
        with self._changed:
            if sequence > self.lexical.watermark:
                self._hidden = self._hidden.adding(ordinals, sequence)

    @property
    def hidden(self) -> Hidden:
        """Deleted documents that the lexical index may still hold."""
        return self._hidden

    @property
    def repairs(self) -> list[str]:
        """What was found unusable and is built anew, in words."""
        return [*self._repairs, *self.generations.repairs]

    def close(self, save: bool = True) -> None:
        """Stops the threads, writes snapshots of the dense indexes that changed, closes all.

        A snapshot that fails, for whatever reason, is only said: nothing rests on it.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.encoding.close()
        if self._thread.is_alive():
            self._thread.join()
        self._upkeep.close()
        for generation in self.generations:
            generation.close()
        if save:
            saved = [*self._each(Generation.save), _failure_of(self._prune)]
            for failure in filter(None, saved):
                _log.warning("%s: no snapshot, the next start replays: %r", self._folder, failure)
        self._renewal.close()
        self.lexical.close(leaves_folder=not save)

    # How far the indexes are

    @property
    def searchable_sequence(self) -> int:
        """All writes up to it are in the lexical and the leading index; 0 while a leg is not
        served."""
        lexical, leading = self.lexical.watermark, self.generations.leading
        if lexical < self._lexical_ready:
            return 0
        return lexical if leading is None else min(lexical, leading.searchable_sequence)

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """Whether a write is searchable, after waiting for it at most so long (None: as needed)."""
        return self._wait(lambda: self.searchable_sequence >= sequence, timeout_seconds)

    def wait_served(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether a generation can be searched, likewise."""

        def is_served() -> bool:
            generation = self.generations.get(identity)
            return generation is not None and generation.is_served

        return self._wait(is_served, timeout_seconds)

    def wait_up_to_date(self, identity: BiEncoderIdentity, timeout_seconds: float) -> bool:
        """Whether all documents are found by a generation, likewise."""

        def is_up_to_date() -> bool:
            generation = self.generations.get(identity)
            if generation is None or not generation.is_served:
                return False
            return generation.searchable_sequence >= self._store.sequence

        return self._wait(is_up_to_date, timeout_seconds)

    def wait_indexed(self, timeout_seconds: float) -> bool:
        """Whether every index has all that there is for it, likewise."""
        return self._wait(lambda: not self._lacks_writes(), timeout_seconds)

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Whether something holds of the indexes, likewise."""
        return self._wait(condition, timeout_seconds)

    def wait_ready(self, most_writes: int, timeout_seconds: float) -> None:
        """Waits until both legs have what was there at the start, if that is not too many writes.

        Documents without a vector are not waited for: to encode them may take hours.
        """
        if self._writes_behind() <= most_writes:
            self._wait(lambda: self._writes_behind() == 0, timeout_seconds)

    def lexical_fault(self) -> str:
        """Why the lexical leg cannot be served; empty if it can."""
        if isinstance(self.lexical, UnopenedLexicalIndex):
            reason = self.lexical.reason
            return f"the lexical index cannot be opened now, which is tried again: {reason}"
        behind = self._lexical_ready - self.lexical.watermark
        if behind <= 0:
            return ""
        why = "".join(f": {repair}" for repair in self._repairs)
        state = _state(self._lexical_retry)
        return f"the lexical index is {behind} writes behind; {state}{why}"

    def unopened(self) -> list[str]:
        """Why indexes that there are cannot be opened at present."""
        lexical = [self.lexical_fault()] if isinstance(self.lexical, UnopenedLexicalIndex) else []
        dense = [self.dense_fault(each) for each in self.generations if each.unopened]
        return [*lexical, *dense]

    def dense_fault(self, generation: Generation) -> str:
        """Why a generation cannot be served; empty if it can."""
        return generation.fault(self._store.count, _state(self._retries.get(generation)))

    @property
    def failure(self) -> str:
        """Why the last attempts at indexes that failed did; empty if none did."""
        of_generations = [self._retries.get(each) for each in self.generations]
        retries = [self._lexical_retry, self._renewal_retry, *of_generations]
        return "; ".join(each.failure for each in retries if each is not None and each.failure)

    def _wait(self, condition: Callable[[], bool], timeout_seconds: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._closing, timeout_seconds)
        return condition()

    def _writes_behind(self) -> int:
        """How many of the writes that were there at the start the slower leg lacks."""
        behind, leading = self._lexical_ready - self.lexical.watermark, self.generations.leading
        if isinstance(self.lexical, UnopenedLexicalIndex):
            behind = 0  # nobody knows for how long
        return max(0, behind, leading.writes_behind if leading else 0)

    # The index thread

    def _run(self) -> None:
        """Catches up whenever there is something to catch up with; a failure is tried again."""
        self._upkeep.at_start()
        while self._wait_for_work():
            try:
                self._catch_up()
            except Exception:
                # No failure of an index, of which `_try` takes care. Without this thread nothing
                # would be searchable any more.
                _log.exception("indexing of %s failed", self._folder)
                self._wait(lambda: False, 1.0)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or self._is_upkeep_due or self._has_work(),
                self._seconds_until_due(),
            )
            self._is_upkeep_due = False
            return not self._closing

    def _seconds_until_due(self) -> float | None:
        """Until something is to be done without anybody's notice; None: nothing is."""
        waits = [retry.seconds_until_due for retry in self._wanted()]
        if self._upkeep_retry.failure:
            waits.append(self._upkeep_retry.seconds_until_due)
        if not self._renewal.is_due(self.lexical):
            renewal = self._renewal.seconds_until_due(self.lexical)
            waits += [] if renewal is None else [renewal]
        upkeep = self._upkeep.seconds_until_due
        waits += [] if upkeep is None else [upkeep]
        return min(waits, default=None)

    def _wake(self) -> None:
        """A better dense index serves, of which there is no snapshot yet; or there is one, and
        there may be deletions to be forgotten; or either failed, and is tried again later."""
        with self._changed:
            self._is_upkeep_due = True
            self._changed.notify_all()

    def _has_work(self) -> bool:
        return any(retry.is_due for retry in self._wanted())

    def _wanted(self) -> Iterator[Retry]:
        """Of each index that there is something to be done for, when that is tried."""
        if self.lexical.watermark < self._store.sequence:
            yield self._lexical_retry
        if self._renewal.is_due(self.lexical):
            yield self._renewal_retry
        for generation in self.generations:
            if not generation.is_indexed:
                yield self._retries.setdefault(generation, Retry())

    def _lacks_writes(self) -> bool:
        behind = self.lexical.watermark < self._store.sequence
        return behind or not all(each.is_indexed for each in self.generations)

    def _catch_up(self) -> None:
        while self._has_work() and not self._closing:
            self._try(self._lexical_retry, self._step_lexical)
            self._each(self._try_generation)
            self._try(self._renewal_retry, self._renew_lexical)
            self._advance()
            self._try(self._upkeep_retry, self._upkeep.while_busy)
        if not self._closing:
            self._try(self._upkeep_retry, self._upkeep.at_rest)

    def _try_generation(self, generation: Generation) -> None:
        self._try(self._retries.setdefault(generation, Retry()), generation.catch_up)

    def _try(self, retry: Retry, step: Callable[[], object]) -> None:
        """Makes a step where it is time for one."""
        if not retry.is_due:
            return
        try:
            step()
            retry.succeeded()
        except Exception as error:
            # Nothing is lost: the truth has it all. The legs go on with what they have.
            _log.exception("indexing of %s failed", self._folder)
            retry.failed(error, MAX_RETRY_SECONDS)

    def _step_lexical(self) -> None:
        if isinstance(self.lexical, UnopenedLexicalIndex):
            self.lexical = self._open_lexical()
        if self.lexical.watermark < self._store.sequence:
            self.lexical.apply(
                self._store.text_changes(
                    self.lexical.watermark, TEXT_CHUNK_DOCUMENTS, TEXT_CHUNK_CHARACTERS
                )
            )

    def _renew_lexical(self) -> None:
        index = self.lexical
        if isinstance(index, UnopenedLexicalIndex) or not self._renewal.is_due(index):
            return
        if self._renewal.step(index):
            self.lexical = self._try_lexical()

    def _each(self, step: Callable[[Generation], object]) -> list[Exception | None]:
        """Makes a step with every generation, the leading one first; how each failed."""
        failures: list[Exception | None] = []
        for generation in self.generations:
            with self.generations.using(generation) as is_at_hand:
                if is_at_hand:
                    failures.append(_failure_of(functools.partial(step, generation)))
        return failures

    def _advance(self) -> None:
        with self._changed:
            self._hidden = self._hidden.above(self.lexical.watermark)
            self._changed.notify_all()

    def _prune(self) -> None:
        """Forgets deletions that all indexes have on disk; another time if one is being opened."""
        with self.generations.held() as is_held:
            if is_held:
                self._prune_for([each.dense.saved_watermark for each in self.generations])

    def _prune_for(self, saved: list[int]) -> None:
        upto = self._renewal.keeps(min(self.lexical.watermark, self._store.number, *saved))
        if not self._closing:
            upto = self.kept(upto)
        followed = self.followed_sequence
        upto = upto if followed is None else min(upto, followed)
        if upto > self._pruned:
            self._store.prune(upto)
            self._pruned = upto

    # Opening

    def _open_lexical(self) -> LexicalIndex:
        """Raises StorageError if it cannot be opened now."""
        self._renewal.settle()
        index, repair = open_lexical_index(self._folder, self._store)
        index.successor_failure = self._renewal.failure
        if repair:
            self._repairs.append(repair)
        return index

    def _try_lexical(self) -> LexicalIndex | UnopenedLexicalIndex:
        try:
            return self._open_lexical()
        except StorageError as error:
            folder = self._folder / LEXICAL_FOLDER
            _log.warning("%s is not served until it can be opened: %s", folder, error)
            return UnopenedLexicalIndex(error.message)


def _failure_of(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:
        return error
    return None


def _state(retry: Retry | None) -> str:
    failure = "" if retry is None else retry.failure
    return f"the last attempt failed: {failure}" if failure else "being indexed"

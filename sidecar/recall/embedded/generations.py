"""The generations of a collection that are at hand: those whose bi-encoder was given.

Others may be stored; they keep no old vectors, and are gone on with when their bi-encoder is back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sidecar.config import DenseIndexConfig
from sidecar.models.base import BiEncoder
from sidecar.recall.embedded.generation import Generation, dense_folder
from sidecar.recall.encoding import identity_of
from sidecar.storage.documents import DocumentStore
from sidecar.storage.files import storage_errors, sync_folder
from sidecar.storage.snapshots import remove_snapshot
from sidecar.storage.stored_generations import BiEncoderIdentity

# Where format 1 had the one dense index, now that of the first generation.
FIRST_DENSE_FOLDER = "dense"


class Generations:
    """By identity. `leading` is the one that new documents get their vectors of at once; None where
    its bi-encoder is not at hand. `configured` is the bi-encoder that is to lead, whether or not
    the collection has vectors of it. `changed` is notified of every change."""

    def __init__(
        self,
        folder: Path,
        store: DocumentStore,
        config: DenseIndexConfig,
        changed: threading.Condition,
        on_built: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_built` is called whenever a better index of one of them has taken over, or failed."""
        self._on_built = on_built
        self._folder = folder
        self._store = store
        self._config = config
        self._changed = changed
        self._at_hand: dict[BiEncoderIdentity, Generation] = {}
        # How many use each of them.
        self._users: dict[BiEncoderIdentity, int] = {}
        self._adding = threading.Lock()
        self.leading: Generation | None = None
        self.configured: BiEncoderIdentity | None = None
        self._tidy_folders()

    def get(self, identity: BiEncoderIdentity) -> Generation | None:
        """The generation of a bi-encoder, if it is at hand."""
        return self._at_hand.get(identity)

    @property
    def leading_identity(self) -> BiEncoderIdentity | None:
        """The bi-encoder of the leading one, at hand or not; None if there are no vectors."""
        stored = self._store.leading
        return None if stored is None else stored.bi_encoder

    def __iter__(self) -> Iterator[Generation]:
        """Those at hand, the leading one first."""
        leading, at_hand = self.leading, self._at_hand
        others = [each for each in at_hand.values() if each is not leading]
        return iter(others if leading is None else [leading, *others])

    @property
    def repairs(self) -> list[str]:
        """What was wrong with their indexes, in words."""
        return [generation.repair for generation in self if generation.repair]

    def configure(self, bi_encoder: BiEncoder) -> None:
        """Opens with a bi-encoder, which leads where the collection has a generation of it, or none
        at all; elsewhere documents are stored without vectors. Raises StorageError."""
        identity = identity_of(bi_encoder)
        self.configured = identity
        if self._store.leading is None or identity in self._store.generations:
            self.add(bi_encoder)
            self.lead(identity)

    def add(self, bi_encoder: BiEncoder) -> None:
        """Starts, or goes on with, the generation of a bi-encoder; one that is at hand keeps the
        bi-encoder that it has. Raises StorageError."""
        with self._adding:
            if identity_of(bi_encoder) not in self._at_hand:
                self._add(bi_encoder)

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Whether none is being added; then none is meanwhile. One that is may rest on deletions
        that all those at hand have."""
        is_held = self._adding.acquire(blocking=False)
        try:
            yield is_held
        finally:
            if is_held:
                self._adding.release()

    def _add(self, bi_encoder: BiEncoder) -> None:
        identity = identity_of(bi_encoder)
        stored = self._store.add_generation(identity)
        added = Generation(
            self._folder, self._store, bi_encoder, stored, self._config, self._on_built
        )
        with self._changed:
            self._users[identity] = 0
            self._at_hand = {**self._at_hand, identity: added}
            self._changed.notify_all()

    def lead(self, identity: BiEncoderIdentity) -> None:
        """Makes a generation at hand the leading one; durable once returned.

        Raises StorageError.
        """
        self._store.lead(identity)
        with self._changed:
            self.leading, self.configured = self._at_hand[identity], identity
            self._changed.notify_all()

    def drop(self, identity: BiEncoderIdentity) -> None:
        """Removes a generation that does not lead, its vectors and its index. Once returned, its
        bi-encoder is not called any more. Raises StorageError; then it can be tried again."""
        with self._changed:
            dropped = self._at_hand.get(identity)
            self._at_hand = {i: each for i, each in self._at_hand.items() if i != identity}
            self._changed.wait_for(lambda: not self._users.get(identity))
            self._users.pop(identity, None)
        if dropped is not None:
            dropped.close()
        stored = self._store.generations.get(identity)
        if stored is not None:
            # The index first: broken off, it is built anew from the vectors that are left.
            remove_snapshot(dense_folder(self._folder, stored))
            self._store.drop_generation(identity)

    @contextlib.contextmanager
    def using(self, generation: Generation) -> Iterator[bool]:
        """Whether a generation is still at hand; then it is not dropped meanwhile."""
        with self._changed:
            is_at_hand = self._at_hand.get(generation.identity) is generation
            if is_at_hand:
                self._users[generation.identity] += 1
        try:
            yield is_at_hand
        finally:
            if is_at_hand:
                self._leave(generation)

    @contextlib.contextmanager
    def using_leading(self) -> Iterator[Generation | None]:
        """The leading generation, which is not dropped meanwhile."""
        with self._changed, contextlib.ExitStack() as used:
            generation = self.leading
            if generation is not None:
                used.enter_context(self.using(generation))
            leaving = used.pop_all()
        with leaving:
            yield generation

    def _leave(self, generation: Generation) -> None:
        with self._changed:
            self._users[generation.identity] -= 1
            self._changed.notify_all()

    def _tidy_folders(self) -> None:
        """Gives the index of format 1 its place, and removes what a crash left of dropped ones."""
        stored = {each.generation: each for each in self._store.generations.values()}
        kept = {dense_folder(self._folder, each) for each in stored.values()}
        first = self._folder / FIRST_DENSE_FOLDER
        with storage_errors(self._folder):
            if (
                1 in stored
                and first.is_dir()
                and not dense_folder(self._folder, stored[1]).exists()
            ):
                first.rename(dense_folder(self._folder, stored[1]))
                sync_folder(self._folder)
            for folder in self._folder.glob("dense-*"):
                if folder.suffix == "" and folder not in kept:
                    remove_snapshot(folder)

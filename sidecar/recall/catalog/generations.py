"""The generations of vectors that all collections have: of the bi-encoder that leads, and of those
that are wanted beside it."""

from __future__ import annotations

import time

from sidecar.errors import ModelChangeError
from sidecar.models.base import BiEncoder
from sidecar.recall.backends import KeptCollection
from sidecar.recall.catalog.kept import Kept
from sidecar.recall.encoding import identity_of
from sidecar.storage.stored_generations import BiEncoderIdentity

# So that, in each collection, writes wait for a moment only.
LEAD_WAIT_SECONDS = 10.0


class Generations:
    """Of all collections, and of those that come: whatever opens one has it `given`."""

    def __init__(self, kept: Kept, leading: BiEncoder | None) -> None:
        self._kept = kept
        self._leading = leading
        self._beside: dict[BiEncoderIdentity, BiEncoder] = {}

    @property
    def leading(self) -> BiEncoder | None:
        """The bi-encoder that leads; None: there is none."""
        return self._leading

    def given(self, collection: KeptCollection) -> KeptCollection:
        """A collection, with those that are wanted beside the leading one. Raises StorageError; it
        is closed then."""
        try:
            for bi_encoder in self._beside.values():
                collection.add_generation(bi_encoder)
        except BaseException:
            collection.close()
            raise
        return collection

    def refusal(self, collection: KeptCollection) -> str:
        """Why it cannot have those that are wanted beside the leading one; empty if it can."""
        refusals = map(collection.generation_refusal, tuple(self._beside))
        return next(filter(None, refusals), "")

    def add(self, bi_encoder: BiEncoder) -> None:
        """Gives every collection, and those created later, a generation of a bi-encoder beside the
        leading one: made in the background, kept up with writes, gone on with after a restart.

        The bi-encoder is used until `drop` or `Catalog.close` has returned; of a generation that is
        there already, the one it was added with. Raises ModelChangeError if a collection cannot
        have it, and then changes nothing; StorageError; then some collections may have it, and it
        can be called again.
        """
        with self._kept.changing:
            identity, collections = identity_of(bi_encoder), self._kept.opened.values()
            for collection in collections:
                if refusal := collection.generation_refusal(identity):
                    raise ModelChangeError(refusal)
            if self._leading is not None and identity == identity_of(self._leading):
                bi_encoder = self._leading
            else:
                bi_encoder = self._beside.setdefault(identity, bi_encoder)
            for collection in collections:
                collection.add_generation(bi_encoder)

    def identities(self) -> set[BiEncoderIdentity]:
        """The bi-encoders of which any collection has a generation, in use or at rest: one that
        nobody wants any more goes by `drop`, its bi-encoder need not be at hand."""
        collections = self._kept.by_name()
        return {identity for collection in collections for identity in collection.generations()}

    def progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """Documents that have a vector of a bi-encoder, and all documents."""
        progress = [each.generation_progress(identity) for each in self._kept.by_name()]
        return sum(done for done, _ in progress), sum(total for _, total in progress)

    def failure(self, identity: BiEncoderIdentity) -> str:
        """Why vectors of a bi-encoder cannot be made at present (it is tried again), and in which
        collection; empty if they can."""
        failures = {each.name: each.generation_failure(identity) for each in self._kept.by_name()}
        return "; ".join(f"{name}: {failure}" for name, failure in failures.items() if failure)

    def wait(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether every collection can be searched by a bi-encoder, after waiting at most so long
        (None: as long as it takes, or until the catalog is closed)."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        for collection in self._kept.by_name():
            left = None if end is None else max(0.0, end - time.monotonic())
            if not collection.wait_generation(identity, left) and self._kept.has(collection):
                return False
        return not self._kept.is_closed

    def lead_with(self, bi_encoder: BiEncoder) -> None:
        """Makes a bi-encoder that every collection can be searched by the leading one: documents
        get its vectors at once from now on. The one before stays beside it.

        Raises ModelChangeError if a collection is not that far, and then changes nothing;
        StorageError if one failed: those before it lead with it then, and all can be searched by
        either.
        """
        identity = identity_of(bi_encoder)
        for collection in self._kept.by_name():
            if collection.wait_generation(identity, 0.0):
                collection.wait_up_to_date(identity, LEAD_WAIT_SECONDS)
        with self._kept.changing:
            for collection in self._kept.opened.values():
                _check_can_lead(collection, identity)
            for collection in self._kept.opened.values():
                collection.lead_with(identity)
            before, self._leading = self._leading, self._beside.pop(identity, bi_encoder)
            if before is not None and identity_of(before) != identity:
                self._beside[identity_of(before)] = before

    def drop(self, identity: BiEncoderIdentity) -> None:
        """Removes the generation of a bi-encoder that does not lead, with its vectors and indexes.
        Once returned, the bi-encoder is not called any more.

        Raises ModelChangeError if it leads, StorageError; it can be called again then.
        """
        with self._kept.changing:
            self._check_does_not_lead(identity)
            self._beside.pop(identity, None)
            for collection in self._kept.opened.values():
                collection.drop_generation(identity)

    def _check_does_not_lead(self, identity: BiEncoderIdentity) -> None:
        if self._leading is not None and identity_of(self._leading) == identity:
            raise ModelChangeError(f"{identity} leads: let another bi-encoder lead first")
        for collection in self._kept.opened.values():
            if collection.leads_with(identity):
                raise ModelChangeError(
                    f"{identity} leads in collection {collection.name!r}: let another bi-encoder "
                    "lead first"
                )


def _check_can_lead(collection: KeptCollection, identity: BiEncoderIdentity) -> None:
    if collection.wait_generation(identity, 0.0):
        return
    if refusal := collection.generation_refusal(identity):
        raise ModelChangeError(refusal)
    done, total = collection.generation_progress(identity)
    raise ModelChangeError(
        f"collection {collection.name!r} has vectors of {identity} for {done} of {total} "
        "documents: wait until all have one"
    )

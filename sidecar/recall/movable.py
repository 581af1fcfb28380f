"""What is asked of a collection that can be moved while it serves: its changes, in their order, and
that its writes wait for a moment and then go elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sidecar.recall.collection import Collection
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Document


@dataclass(frozen=True, slots=True)
class Changes:
    """All that the writes up to `upto` changed: forget the ordinals `deleted`, then `documents`,
    which have these `ordinals`, are as they are here, with their vectors if they have one.

    An ordinal is never given to two documents; one that comes back has another one.
    """

    upto: int
    documents: Sequence[Document]
    ordinals: Sequence[int]
    deleted: Sequence[int]


class DocumentChanges(Protocol):
    """What a follower reads: all that there is, then what is written. Raises StorageError."""

    @property
    def sequence(self) -> int:
        """The number of the last write."""

    @property
    def count(self) -> int:
        """Documents that there are."""

    @property
    def identity(self) -> BiEncoderIdentity | None:
        """The bi-encoder that leads; None: there are no vectors."""

    @property
    def forgotten_sequence(self) -> int:
        """Of deletions up to it nobody knows any more."""

    def keep_deletions(self, after: int | None) -> None:
        """Deletions after a number are not forgotten while this runs; None: as if nobody asked."""

    def read(self, after: int, limit: int, identity: BiEncoderIdentity | None) -> Changes:
        """What the writes after a number changed, about `limit` documents of it, with their vectors
        of a bi-encoder. What is damaged counts as deleted, and is logged.

        What is written between its reads is as of before or after, and comes again.
        """

    def stored_ordinals(self, ordinals: Sequence[int]) -> set[int]:
        """Those of documents that there are."""

    def versions(self, doc_ids: Sequence[str]) -> dict[str, int]:
        """Of the documents that there are, by id."""


class HoldableCollection(Collection, Protocol):
    """A collection whose name can be made to stand for another one."""

    def held(self) -> AbstractContextManager[None]:
        """While its writes wait; what was under way is finished before."""

    def hand_over(self, successor: Collection) -> None:
        """Writes that wait, and that come yet, go to another collection. Within `held`."""


class MovableCollection(HoldableCollection, Protocol):
    """A collection that can be moved."""

    def changes(self) -> DocumentChanges:
        """What it has, and what comes."""

    def put_aside(self) -> None:
        """After it was handed over: its files are left as they are, to be opened again; reads that
        are under way go on."""

"""Keeps the attributes of a collection's documents in memory, for filters and facets at scale.

They are read from the database by a thread, chunk by chunk, and from then on brought up to date by
whoever asks, so that an answer is exact as of the truth, and by the thread where nobody asks. What
is not in memory is asked of the database: all of it while they are being read or are far behind, an
attribute that does not fit for good.

A million documents with seven attributes, on one core of a machine that had much else to do: read
in 8 s; equality .01 ms (2 ms the first time), a range over half of the documents .4 ms (10 ms),
where the database takes 50 to 100 ms; a facet 4 to 60 ms. Bytes a document: 6 for an attribute of
few values, 22 for one of different numbers, 90 for one of different strings of 19 characters.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from pyroaring import BitMap

from sidecar.recall.embedded.column_view import Column, ColumnView
from sidecar.recall.embedded.filters import Attributes
from sidecar.recall.embedded.postings import Postings, from_chunks, least_bytes, to_bitmap
from sidecar.recall.embedded.stored_attributes import StoredAttributes
from sidecar.storage.attributes import AttributeReader
from sidecar.storage.documents import DocumentStore
from sidecar.storage.rows import RowValue
from sidecar.types import AttributeType

# Who asks brings them up to date himself unless they lack more writes than this, which take longer
# than to ask the database (50 us each, with seven attributes).
MAX_BEHIND = 4_000
CHUNK_DOCUMENTS = 5_000
# They are settled once so many documents were written since the last time, which a write is then
# taken over the slower for (2 ms; 9 ms with twice as many, 19 ms with 32,000, all attributes of a
# million documents together); but not before so many times as long has passed as it took.
STALE_LEAST = 4_096
SETTLE_REST = 9.0
# Deletions are remembered for them unless they lack more writes than this.
MAX_KEPT_WRITES = 100_000
# How often the thread looks for what nobody asked for, and tries again after a failure.
IDLE_SECONDS = 0.25
RETRY_SECONDS = 30.0

_log = logging.getLogger(__name__)


class AttributeColumns:
    """The newest view of a collection's attributes. Any thread may ask."""

    def __init__(self, store: DocumentStore, max_bytes: int) -> None:
        """`max_bytes`: of memory for them; one that does not fit is left to the database."""
        self._store = store
        self._types = store.header.schema.attribute_types()
        self._max_bytes = max_bytes
        self._view: ColumnView | None = None
        # What is being read, or settled, is as of this write at least; None: nothing is.
        self._under_way: int | None = None
        self._changing = threading.Lock()
        self._woken = threading.Condition()
        self._closing = False
        self._rests_until = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, which reads them first; none where there is no room for any."""
        if self._max_bytes == 0:
            return
        name = f"attributes {self._store.header.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread. May be called twice."""
        with self._woken:
            self._closing = True
            self._woken.notify_all()
        if self._thread is not None:
            self._thread.join()

    @property
    def watermark(self) -> int:
        """The sequence number that they are as of; -1 before they are read."""
        view = self._view
        return -1 if view is None else view.watermark

    @property
    def held(self) -> frozenset[str]:
        """The attributes that are in memory."""
        view = self._view
        return frozenset() if view is None else frozenset(view.columns)

    def keeps(self, upto: int) -> int:
        """Up to where deletions can be forgotten, of those up to `upto`, so that it need not read
        everything anew."""
        # In this order: what was under way is in the view once it is not any more.
        under_way, view = self._under_way, self._view
        wanted = [] if view is None else [view.watermark]
        wanted += [] if under_way is None else [under_way]
        least = min(wanted, default=upto)
        return upto if upto - least > MAX_KEPT_WRITES else min(upto, least)

    @contextlib.contextmanager
    def asking(self, names: frozenset[str]) -> Iterator[Attributes]:
        """The attributes of these names, and which documents there are, as of one moment after the
        call began. Raises StorageError."""
        view = self._current()
        if view is not None and names <= view.columns.keys():
            yield view
            return
        with self._store.reading_attributes() as reader:
            stored = StoredAttributes(reader, self._types)
            # Both as of the same moment, or the database alone.
            view = None if view is None else self._as_of(reader)
            yield stored if view is None else _Held(view, stored)

    def load(self) -> None:
        """Reads them all. Raises StorageError."""
        with (
            self._changing,
            self._following(self._store.sequence),
            self._store.reading_attributes() as reader,
        ):
            self._view = None
            documents, left = to_bitmap(reader.all_ordinals()), self._max_bytes
            columns = {}
            for name, kind in self._types.items():
                base = self._read(reader, name, kind, left)
                if base is not None:
                    left -= base.bytes
                    columns[name] = Column(kind, base, Postings.of(kind, ()))
            if not self._closing:
                self._view = ColumnView(reader.sequence, documents, BitMap(), columns)

    def findings(self) -> list[str]:
        """What of them is not as the database has it, for `verify`; nothing where it answers.
        Raises StorageError, and ValueError or TypeError for a damaged row."""
        with self._store.reading_attributes() as reader:
            view = self._as_of(reader)
            if view is None:
                return []
            differing = [
                f"the attribute {name!r} in memory"
                for name, column in view.columns.items()
                if not self._is_as_stored(reader, name, column, view.stale)
            ]
            if view.documents != to_bitmap(reader.all_ordinals()):
                differing.append("which documents there are, in memory,")
        where = self._store.path
        return [f"{where}: {what} differs: the next start reads it anew" for what in differing]

    def _is_as_stored(
        self, reader: AttributeReader, name: str, column: Column, stale: BitMap
    ) -> bool:
        stored = self._read(reader, name, column.kind, sys.maxsize)
        return stored is None or column.base.merged(stale, column.tail).equals(stored)

    # Bringing up to date

    def _current(self) -> ColumnView | None:
        """The view as of now; None if there is none yet, or it is far behind."""
        view, wanted = self._view, self._store.sequence
        if view is None or view.watermark >= wanted:
            return view
        if wanted - view.watermark > MAX_BEHIND:
            return None
        with self._store.reading_attributes() as reader:
            self._catch_up(reader)
        return self._view

    def _as_of(self, reader: AttributeReader) -> ColumnView | None:
        """The view as of what a reader sees, if it is neither far behind nor ahead."""
        view = self._view
        if view is None or reader.sequence - view.watermark > MAX_BEHIND:
            return None
        self._catch_up(reader)
        view = self._view
        return view if view is not None and view.watermark == reader.sequence else None

    def _catch_up(self, reader: AttributeReader) -> None:
        """Takes over what changed up to what the reader sees, which is one moment."""
        with self._changing:
            if self._view is not None:
                self._view = self._followed(self._view, reader)

    def _followed(self, view: ColumnView, reader: AttributeReader) -> ColumnView | None:
        """None if it cannot follow, because deletions that it lacks are forgotten."""
        upto = reader.sequence
        if view.watermark < upto and view.watermark < reader.pruned_sequence:
            _log.info("%s: the attributes in memory are too old and read anew", self._store.path)
            return None
        while view.watermark < upto:
            view = view.changed(reader.changes(view.watermark, CHUNK_DOCUMENTS))
        return view

    # The thread

    def _run(self) -> None:
        """A failure is tried again; the database answers meanwhile."""
        rest = 0.0
        while self._wait(rest):
            try:
                self._keep_up()
                rest = IDLE_SECONDS
            except Exception as error:
                _log.warning("%s: attributes are not in memory: %r", self._store.path, error)
                rest = RETRY_SECONDS

    def _wait(self, seconds: float) -> bool:
        """Whether it is to go on."""
        with self._woken:
            self._woken.wait_for(lambda: self._closing, seconds)
            return not self._closing

    def _keep_up(self) -> None:
        view = self._view
        if view is None:
            self.load()
        elif view.watermark < self._store.sequence:
            with self._store.reading_attributes() as reader:
                self._catch_up(reader)
        view = self._view
        if view is None or len(view.stale) < STALE_LEAST or time.monotonic() < self._rests_until:
            return
        began = time.monotonic()
        self.settle()
        ended = time.monotonic()
        self._rests_until = ended + SETTLE_REST * (ended - began)

    def settle(self) -> None:
        """Makes what was written since the last time part of the whole. Others ask and change
        meanwhile. Raises StorageError."""
        with self._following(self.watermark):
            self._settle()

    def _settle(self) -> None:
        view = self._view
        if view is None:
            return
        settled = self._fitting(view.settled())
        with self._store.reading_attributes() as reader, self._changing:
            if self._view is None or reader.sequence < self._view.watermark:
                return  # next time
            self._view = self._followed(settled, reader)

    @contextlib.contextmanager
    def _following(self, sequence: int) -> Iterator[None]:
        """Deletions after a write are needed meanwhile."""
        self._under_way = sequence
        try:
            yield
        finally:
            self._under_way = None

    def _fitting(self, view: ColumnView) -> ColumnView:
        while view.columns and view.bytes > self._max_bytes:
            name = max(view.columns, key=lambda each: view.columns[each].base.bytes)
            self._say_left_out(name)
            view = view.without(name)
        return view

    def _read(
        self, reader: AttributeReader, name: str, kind: AttributeType, most_bytes: int
    ) -> Postings | None:
        """One attribute; None if it would take more memory than that, or reading was ended."""
        values: list[RowValue] = []
        counts: list[int] = []
        ordinals = [np.empty(0, np.int64)]
        value_bytes = 0
        for chunk in reader.values_of(name):
            values += chunk.values
            counts += chunk.counts
            ordinals.append(chunk.ordinals)
            value_bytes += least_bytes(chunk.values, len(chunk.ordinals))
            if self._closing:
                return None
            if value_bytes > most_bytes:
                self._say_left_out(name)
                return None
        return from_chunks(kind, values, counts, np.concatenate(ordinals))

    def _say_left_out(self, name: str) -> None:
        _log.warning(
            "%s: attribute %r has too many different values to be held in %d MiB of memory: the "
            "database is asked, which takes longer for values of many documents",
            self._store.path,
            name,
            self._max_bytes >> 20,
        )


class _Held:
    """Attributes of a view, and of the database what the view does not hold."""

    def __init__(self, view: ColumnView, stored: StoredAttributes) -> None:
        self._view = view
        self._stored = stored
        self.documents = view.documents

    def one_of(self, name: str, values: Sequence[RowValue]) -> BitMap:
        return self._of(name).one_of(name, values)

    def between(
        self,
        name: str,
        lower: RowValue | None,
        upper: RowValue | None,
        lower_inclusive: bool = True,
        upper_inclusive: bool = True,
    ) -> BitMap:
        return self._of(name).between(name, lower, upper, lower_inclusive, upper_inclusive)

    def most_frequent(self, name: str, among: BitMap, limit: int) -> list[tuple[RowValue, int]]:
        return self._of(name).most_frequent(name, among, limit)

    def _of(self, name: str) -> Attributes:
        return self._view if name in self._view.columns else self._stored

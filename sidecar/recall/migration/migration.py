"""How a collection moves while it serves: follow -> compare -> hold writes, drain, count -> switch.

Until the switch, which is one file, nothing has changed for anybody; what broke off goes on from
the ledger when it is asked for again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sidecar.errors import MigrationError, TryLaterError
from sidecar.recall.collection import Collection
from sidecar.recall.migration.comparison import Comparer, Comparison
from sidecar.recall.migration.follower import Follower
from sidecar.recall.migration.ledger import Ledger
from sidecar.recall.migration.pace import Pace
from sidecar.recall.movable import MovableCollection
from sidecar.storage.progress import Progress, unheard
from sidecar.types import Backend

# Writes wait so long, at most, for what is left to be copied; then they go on, and it is tried
# again.
HOLD_SECONDS = 2.0
HOLD_ATTEMPTS = 20
HOLD_DOCUMENTS = 1_000
MOST_UNSETTLED = 500
LEAST_OVERLAP = 0.8


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller wants of a migration. `documents_per_second` 0: as fast as it can."""

    documents_per_second: int = 0
    least_overlap: float = LEAST_OVERLAP


@dataclass(frozen=True, slots=True)
class Migrated:
    """What came of it. `backend` None: kept here (again). `held_seconds`: writes waited so long."""

    collection: str
    incarnation: str
    backend: Backend | None
    document_count: int
    comparison: Comparison
    held_seconds: float = 0.0


class Migration:
    """Of one collection to one target. `switching` is a context in which the collection can be
    exchanged, with its writes held; it gives what does so, durably."""

    def __init__(
        self,
        source: MovableCollection,
        target: Collection,
        ledger: Ledger,
        terms: Terms,
        progress: Progress = unheard,
    ) -> None:
        self._source = source
        self._changes = source.changes()
        self._target = target
        self._ledger = ledger
        self._terms = terms
        self._progress = progress
        self._pace = Pace(terms.documents_per_second)
        self._follower = Follower(self._changes, target, ledger, self._pace, self._tell)
        self._step = "copies documents"
        self._comparer = Comparer(
            source,
            self._changes,
            target,
            ledger.record.bi_encoder,
            self._follower.catch_up,
            self._pace,
            progress,
        )

    def run(self, switching: Callable[[], AbstractContextManager[Callable[[], None]]]) -> Migrated:
        """All of it. Raises MigrationError if both are not alike, and what the target does; it can
        be called again then."""
        try:
            self._check_bi_encoder()
            self._copy()
            comparison = self._compare()
            held_seconds = self._switch(switching, comparison)
        finally:
            self._changes.keep_deletions(None)
        return Migrated(
            self._source.name,
            self._ledger.record.collection_id,
            self._ledger.record.backend,
            self._changes.count,
            comparison,
            held_seconds,
        )

    def _copy(self) -> None:
        self._step = "copies documents"
        # What is written meanwhile is a part of it; a second pass is short, and so on.
        for _ in range(HOLD_ATTEMPTS):
            self._follower.catch_up()
            if self._changes.sequence - self._ledger.watermark <= HOLD_DOCUMENTS:
                return

    def _tell(self) -> None:
        done, total = self._ledger.watermark, self._changes.sequence
        self._progress(self._step, min(done, total), total)

    def _check_bi_encoder(self) -> None:
        held, leading = self._ledger.record.bi_encoder, self._changes.identity
        if held != leading:
            raise MigrationError(
                f"collection {self._source.name!r} has vectors of {leading or 'no bi-encoder'} "
                f"now, its copy of {held or 'none'}: give the migration up, and begin anew"
            )

    def _compare(self) -> Comparison:
        found = self._comparer.compare()
        overlaps = {"lexical": found.lexical_overlap, "dense": found.dense_overlap}
        least = self._terms.least_overlap
        for leg, overlap in overlaps.items():
            if overlap < least:
                found.findings.append(
                    f"of the first 100 of the {leg} leg, {overlap:.0%} are the same for "
                    f"{found.probes} queries: {least:.0%} are wanted"
                )
        self._refuse(found.findings, len(found.differing))
        return found

    def _refuse(self, findings: list[str], differing: int) -> None:
        if findings:
            raise MigrationError(
                f"collection {self._source.name!r} and its copy are not alike ({differing} "
                f"documents differ), so nothing was switched: {'; '.join(findings)}"
            )

    def _switch(
        self,
        switching: Callable[[], AbstractContextManager[Callable[[], None]]],
        comparison: Comparison,
    ) -> float:
        """Returns how long writes were held."""
        self._step = "switches"
        with ThreadPoolExecutor(1, "migration") as drains:
            for _ in range(HOLD_ATTEMPTS):
                self._follower.catch_up()
                self._tell()
                with switching() as exchange:
                    started = time.monotonic()
                    drained = drains.submit(self._drain, comparison)
                    with contextlib.suppress(TimeoutError, TryLaterError):
                        findings = drained.result(HOLD_SECONDS)
                        self._refuse(findings, 0)
                        self._check_bi_encoder()
                        exchange()
                        return time.monotonic() - started
                # Writes go on; what was begun is finished before the next attempt.
                drained.exception()
        raise MigrationError(
            f"the last writes of collection {self._source.name!r} could not be copied within "
            f"{HOLD_SECONDS} s, {HOLD_ATTEMPTS} times: ask again when less is written"
        )

    def _drain(self, comparison: Comparison) -> list[str]:
        """Copies what is left while nothing is written; returns what is not alike then."""
        end = time.monotonic() + HOLD_SECONDS
        while not self._follower.is_up_to_date:
            if time.monotonic() >= end:  # they are written again, there is no end to it
                raise TimeoutError
            self._follower.step(HOLD_DOCUMENTS, HOLD_SECONDS)
        self._follower.settle(0.0)  # writes wait
        here, there = self._changes.count, self._target.stats().document_count
        if here != there:
            return [f"there are {here} documents, and {there} in the copy"]
        unsettled = comparison.unsettled
        if len(unsettled) > MOST_UNSETTLED:
            return [f"{len(unsettled)} documents changed all the time and could not be compared"]
        differing = self._comparer.differing(unsettled, 0.0)
        return [f"document {doc_id[:80]!r} is not the same in both" for doc_id in differing[:10]]

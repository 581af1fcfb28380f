"""A collection that OpenSearch keeps: the documents and both indexes are there, nothing is here.

Recall is two searches, one a leg; fusion and all that follows are the sidecar's. Documents are
encoded here before they are sent. See index.py for what is kept, writer.py for how it is written,
existing.py for an index that others write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from sidecar.config import BackendConfig
from sidecar.errors import BackendUnavailableError, OverloadedError, UnsupportedError
from sidecar.models.base import BiEncoder
from sidecar.recall.collection import Stats
from sidecar.recall.encoding import identity_of
from sidecar.recall.opensearch import creation
from sidecar.recall.opensearch.client import Client
from sidecar.recall.opensearch.existing import MappedLayout
from sidecar.recall.opensearch.facets import count_facets
from sidecar.recall.opensearch.index import VECTOR
from sidecar.recall.opensearch.layout import ATTRIBUTES, FIELDS, Layout, OwnLayout
from sidecar.recall.opensearch.legs import OpenSearchLegs
from sidecar.recall.opensearch.reading import Reader
from sidecar.recall.opensearch.upkeep import verify_index
from sidecar.recall.opensearch.writer import Writer
from sidecar.recall.remote import RemoteRecord
from sidecar.recall.remote_collection import RemoteCollection
from sidecar.storage.progress import Progress, unheard
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Attribute, Document, Facet, FacetRequest, Filter

_log = logging.getLogger(__name__)


class OpenSearchCollection(RemoteCollection):
    """See Collection, and RemoteKind in backends.py."""

    _writer: Writer

    def __init__(
        self, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> None:
        """Use `open`."""
        self._config = config
        self._layout = _layout(record)
        self._client = Client(record.backend.name, config)
        self._reader = Reader(self._client, record.backend.index, self._layout)
        configured = identity_of(bi_encoder) if bi_encoder else None
        super().__init__(
            record,
            Writer(self._client, record, self._reader, bi_encoder),
            OpenSearchLegs(self._client, record, self._layout, configured, config),
            bi_encoder is not None,
        )

    # What backends.py asks of a kind

    @staticmethod
    def prepare(record: RemoteRecord, config: BackendConfig) -> RemoteRecord:
        """See RemoteKind."""
        return creation.prepare(record, config)

    @staticmethod
    def discard(record: RemoteRecord, config: BackendConfig) -> None:
        """See RemoteKind."""
        creation.discard(record, config)

    @classmethod
    def open(
        cls, record: RemoteRecord, config: BackendConfig, bi_encoder: BiEncoder | None
    ) -> Self:
        """See RemoteKind. While the backend is down the index is not looked at, but before the
        first write."""
        collection = cls(record, config, bi_encoder)
        try:
            collection._writer.open()
        except (BackendUnavailableError, OverloadedError) as error:
            _log.warning("collection %s: its index is not looked at: %s", record.name, error)
        except BaseException:
            collection.close()
            raise
        return collection

    def moved(self, folder: Path) -> None:
        """See KeptCollection. The index is deleted if it is the sidecar's."""
        try:
            creation.discard(self._record, self._config)
        finally:
            self._client.close()

    # What it is

    def stats(self) -> Stats:
        """See Collection. All that is durable is made searchable first, where it is not read-only.

        Raises BackendError, BackendUnavailableError.
        """
        self._writer.open()
        self._count = self._reader.count()
        if not self._record.backend.read_only:
            self._writer.refresh()
            self._count = self._reader.count()
        return Stats(
            document_count=self._count,
            durable_sequence=self._writer.sequences.durable,
            searchable_sequence=self._writer.sequences.searchable,
            lexical_count=self._count,
            dense_count=self._reader.vector_count(),
            disk_bytes=self._reader.disk_bytes(),
        )

    # Writes

    @property
    def durable_sequence(self) -> int:
        """See Collection. Other sidecars may write, too, so it is that of now."""
        return self._writer.sequences.latest

    @property
    def searchable_sequence(self) -> int:
        """See Collection: of the writes of this sidecar."""
        return self._writer.sequences.searchable

    def wait_searchable(self, sequence: int, timeout_seconds: float | None) -> bool:
        """See Collection. What was acknowledged before a refresh, by whichever sidecar, is
        searchable after it. Raises BackendUnavailableError, OverloadedError before its time."""
        return self._writer.wait_searchable(sequence, timeout_seconds)

    # Reads

    def get(self, doc_ids: Sequence[str], include_vectors: bool = False) -> list[Document]:
        """See Collection."""
        parts = [FIELDS, ATTRIBUTES, *([VECTOR] if include_vectors else [])]
        found = self._reader.stored(doc_ids, parts, as_searched=False)
        return [found[doc_id] for doc_id in dict.fromkeys(doc_ids) if doc_id in found]

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """See Collection."""
        found = self._reader.stored(doc_ids, [FIELDS], as_searched=True)
        return {doc_id: document.fields for doc_id, document in found.items()}

    def attributes(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """See Recaller."""
        found = self._reader.stored(doc_ids, [ATTRIBUTES], as_searched=True)
        return {doc_id: document.attributes for doc_id, document in found.items()}

    def vectors(
        self, doc_ids: Sequence[str], generation: BiEncoderIdentity | None = None
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """See Recaller."""
        if not self._has_vectors_of(generation):
            return {}
        found = self._reader.stored(doc_ids, [VECTOR], as_searched=True)
        return {
            doc_id: np.asarray(document.vector, np.float32)
            for doc_id, document in found.items()
            if document.vector is not None
        }

    def check_can_count(self) -> None:
        """See Collection: it can."""

    def facets(self, requests: Sequence[FacetRequest], filter: Filter | None) -> tuple[Facet, ...]:
        """See Collection. Over several shards counts may be too low, which is told."""
        return count_facets(self._reader, self._layout, self.schema, requests, filter)

    # Upkeep

    def verify(self, progress: Progress = unheard) -> list[str]:
        """See Collection: what OpenSearch says of the index, and the counts of both legs. Its own
        files it checks itself."""
        return verify_index(self._client, self._record, self._reader)

    def back_up(self, folder: Path, progress: Progress = unheard) -> None:
        """Raises UnsupportedError."""
        raise UnsupportedError(
            f"collection {self.name!r} is kept by backend {self._record.backend.name!r}: take a "
            "snapshot of its index there"
        )

    def close(self) -> None:
        """See Collection."""
        super().close()
        self._client.close()


def _layout(record: RemoteRecord) -> Layout:
    if record.backend.mapping:
        return MappedLayout(record.schema, record.backend)
    return OwnLayout(record.schema, record.bi_encoder)

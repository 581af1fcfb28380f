"""Collections in a running milvus-lite."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from engines.milvus import MilvusLite
from fakes import FakeBiEncoder
from recalling import SCHEMA

from sidecar.config import BackendConfig
from sidecar.models.base import BiEncoder
from sidecar.recall.encoding import identity_of
from sidecar.recall.milvus.collection import MilvusCollection
from sidecar.recall.remote import RemoteRecord, new_record
from sidecar.types import Backend, Schema

TIMEOUT_SECONDS = 20.0
ENCODER = FakeBiEncoder()
Opener = Callable[..., MilvusCollection]
_NUMBERS = itertools.count()


@pytest.fixture
def server(milvus_lite: MilvusLite) -> MilvusLite:
    """The server that keeps them."""
    return milvus_lite


@pytest.fixture(scope="module")
def collections(milvus_lite: MilvusLite) -> Iterator[Opener]:
    """Makes collections, or opens those of a name; closed at the end."""
    opened: list[MilvusCollection] = []

    def open_one(
        schema: Schema = SCHEMA,
        reopened: RemoteRecord | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        bi_encoder: BiEncoder | None = ENCODER,
    ) -> MilvusCollection:
        config = BackendConfig(kind="milvus", url=milvus_lite.url, timeout_seconds=timeout_seconds)
        record = reopened
        if record is None:
            identity = identity_of(bi_encoder) if bi_encoder is not None else None
            new = new_record(f"things-{next(_NUMBERS)}", schema, Backend("lite", ""), identity)
            record = MilvusCollection.prepare(new, config)
        opened.append(MilvusCollection.open(record, config, bi_encoder))
        return opened[-1]

    yield open_one
    for collection in opened:
        collection.close()

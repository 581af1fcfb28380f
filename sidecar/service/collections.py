"""CollectionService: check, call the catalog in a thread, reply."""

from __future__ import annotations

import asyncio
import dataclasses

from sidecar.errors import SidecarError
from sidecar.recall.collection import Collection, Description
from sidecar.service.calls import Context, Threads
from sidecar.service.messages.checks import check_collection
from sidecar.service.messages.collection import from_description, to_backend, to_schema
from sidecar.service.parts import PartsOnceLoaded
from sidecar.v1 import collection_pb2, collection_pb2_grpc


class CollectionService(collection_pb2_grpc.CollectionServiceServicer):
    """Named sets of documents."""

    def __init__(self, parts: PartsOnceLoaded, threads: Threads) -> None:
        self._parts = parts
        self._threads = threads

    async def CreateCollection(
        self, request: collection_pb2.CreateCollectionRequest, context: Context
    ) -> collection_pb2.CreateCollectionResponse:
        """Creates a collection."""
        schema, backend = to_schema(request), to_backend(request)
        catalog = self._parts.get().catalog
        collection = await self._threads.run(catalog.create, request.name, schema, backend)
        description = await self._threads.run(_look_at, collection)
        return collection_pb2.CreateCollectionResponse(collection=from_description(description))

    async def DescribeCollection(
        self, request: collection_pb2.DescribeCollectionRequest, context: Context
    ) -> collection_pb2.DescribeCollectionResponse:
        """Describes one collection."""
        check_collection("name", request.name)
        collection = self._parts.get().catalog.get(request.name)
        description = await self._threads.run(_look_at, collection)
        return collection_pb2.DescribeCollectionResponse(collection=from_description(description))

    async def ListCollections(
        self, request: collection_pb2.ListCollectionsRequest, context: Context
    ) -> collection_pb2.ListCollectionsResponse:
        """Lists all collections by name."""
        collections = self._parts.get().catalog.list()
        looks = [self._threads.run(_look_at, collection) for collection in collections]
        descriptions = await asyncio.gather(*looks)
        return collection_pb2.ListCollectionsResponse(
            collections=[from_description(description) for description in descriptions]
        )

    async def DropCollection(
        self, request: collection_pb2.DropCollectionRequest, context: Context
    ) -> collection_pb2.DropCollectionResponse:
        """Drops a collection."""
        check_collection("name", request.name)
        await self._threads.run(self._parts.get().catalog.drop, request.name)
        return collection_pb2.DropCollectionResponse()


def _look_at(collection: Collection) -> Description:
    """What it is; of one that is kept elsewhere with the count of now, if that is to be had."""
    description = collection.describe()
    if description.backend is None:
        return description
    try:
        return dataclasses.replace(description, document_count=collection.stats().document_count)
    except SidecarError:
        return description

"""CollectionService: check, call the catalog in a thread, reply."""

from __future__ import annotations

from sidecar.service.calls import Context, Threads
from sidecar.service.messages.checks import check_collection
from sidecar.service.messages.collection import from_collection, to_schema
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
        """Creates an empty collection."""
        schema = to_schema(request)
        catalog = self._parts.get().catalog
        collection = await self._threads.run(catalog.create, request.name, schema)
        return collection_pb2.CreateCollectionResponse(collection=from_collection(collection))

    async def DescribeCollection(
        self, request: collection_pb2.DescribeCollectionRequest, context: Context
    ) -> collection_pb2.DescribeCollectionResponse:
        """Describes one collection."""
        check_collection("name", request.name)
        collection = self._parts.get().catalog.get(request.name)
        return collection_pb2.DescribeCollectionResponse(collection=from_collection(collection))

    async def ListCollections(
        self, request: collection_pb2.ListCollectionsRequest, context: Context
    ) -> collection_pb2.ListCollectionsResponse:
        """Lists all collections by name."""
        collections = self._parts.get().catalog.list()
        return collection_pb2.ListCollectionsResponse(
            collections=[from_collection(collection) for collection in collections]
        )

    async def DropCollection(
        self, request: collection_pb2.DropCollectionRequest, context: Context
    ) -> collection_pb2.DropCollectionResponse:
        """Drops a collection."""
        check_collection("name", request.name)
        await self._threads.run(self._parts.get().catalog.drop, request.name)
        return collection_pb2.DropCollectionResponse()

"""ModelService: check, change or look, reply. A caller that leaves cancels what has not flipped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from sidecar.pipeline.exchange.model_changes import Changes, ModelChanges
from sidecar.pipeline.exchange.standing_models import ModelChange, describe_version, list_serving
from sidecar.service.calls import Context, to_draining_error
from sidecar.service.messages.model import (
    check_model,
    check_version,
    from_change,
    from_comparison,
    from_description,
    from_serving,
)
from sidecar.service.parts import PartsOnceLoaded
from sidecar.v1 import model_pb2, model_pb2_grpc


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """The models that serve, and their exchange."""

    def __init__(self, parts: PartsOnceLoaded, draining: asyncio.Event) -> None:
        self._parts = parts
        self._draining = draining

    async def ListModels(
        self, request: model_pb2.ListModelsRequest, context: Context
    ) -> model_pb2.ListModelsResponse:
        """The models that serve."""
        parts = self._parts.get()
        lineup, change = parts.serving.lineup, parts.changes.change
        response = model_pb2.ListModelsResponse(
            change=None if change is None else from_change(change),
            canary_share=lineup.shares.canary,
            interleaved_share=lineup.shares.interleaved,
            last_intervention=parts.watch.last_intervention,
        )
        models = await list_serving(lineup, parts.changes.registry)
        response.models.extend(from_serving(model) for model in models)
        return response

    async def DescribeModel(
        self, request: model_pb2.DescribeModelRequest, context: Context
    ) -> model_pb2.DescribeModelResponse:
        """One version."""
        check_model(request.model)
        registry = self._changes().need_registry()
        return from_description(await describe_version(registry, request.model, request.version))

    async def ActivateModel(
        self, request: model_pb2.ActivateModelRequest, context: Context
    ) -> AsyncIterator[model_pb2.ActivateModelResponse]:
        """A version for all sessions."""
        check_model(request.model)
        check_version(request.version)
        changes = self._changes().activate(request.model, request.version)
        async with contextlib.aclosing(self._unless_draining(changes)) as steps:
            async for step in steps:
                yield model_pb2.ActivateModelResponse(change=from_change(step))

    async def StartCanary(
        self, request: model_pb2.StartCanaryRequest, context: Context
    ) -> AsyncIterator[model_pb2.StartCanaryResponse]:
        """A version for some sessions."""
        check_model(request.model)
        check_version(request.version)
        changes = self._changes().start_canary(
            request.model, request.version, request.share, request.interleaved_share
        )
        async with contextlib.aclosing(self._unless_draining(changes)) as steps:
            async for step in steps:
                yield model_pb2.StartCanaryResponse(change=from_change(step))

    async def PromoteCanary(
        self, request: model_pb2.PromoteCanaryRequest, context: Context
    ) -> model_pb2.PromoteCanaryResponse:
        """The canary for all sessions."""
        check_model(request.model)
        version = await self._changes().promote(request.model)
        return model_pb2.PromoteCanaryResponse(version=version)

    async def StopCanary(
        self, request: model_pb2.StopCanaryRequest, context: Context
    ) -> model_pb2.StopCanaryResponse:
        """The canary for none."""
        check_model(request.model)
        version = await self._changes().stop_canary(request.model)
        return model_pb2.StopCanaryResponse(version=version)

    async def RollBackModel(
        self, request: model_pb2.RollBackModelRequest, context: Context
    ) -> AsyncIterator[model_pb2.RollBackModelResponse]:
        """The previous version for all sessions."""
        check_model(request.model)
        changes = self._changes().roll_back(request.model)
        async with contextlib.aclosing(self._unless_draining(changes)) as steps:
            async for step in steps:
                yield model_pb2.RollBackModelResponse(change=from_change(step))

    async def CompareModels(
        self, request: model_pb2.CompareModelsRequest, context: Context
    ) -> model_pb2.CompareModelsResponse:
        """Canary and production."""
        check_model(request.model)
        changes = self._changes()
        canary = changes.canary_of(request.model)
        return from_comparison(changes.production_of(canary).version, canary)

    def _changes(self) -> ModelChanges:
        return self._parts.get().changes

    async def _unless_draining(self, changes: Changes) -> AsyncGenerator[ModelChange]:
        """The steps of a change, which ends without a flip once the server drains."""
        drained = asyncio.create_task(self._draining.wait())
        try:
            async with contextlib.aclosing(changes):
                while True:
                    step = asyncio.create_task(_next(changes))
                    await _first_of(step, drained)
                    if step.cancelled():
                        raise to_draining_error()
                    if (change := step.result()) is None:
                        return
                    yield change
        finally:
            drained.cancel()


async def _next(changes: Changes) -> ModelChange | None:
    return await anext(changes, None)


async def _first_of(step: asyncio.Task[ModelChange | None], other: asyncio.Task[bool]) -> None:
    """Returns once one of the two is done; a step that is not is cancelled, and has ended."""
    try:
        await asyncio.wait({step, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step})

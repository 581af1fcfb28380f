"""The models that a running sidecar serves, and their exchange."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from sidecar.v1 import model_pb2, model_pb2_grpc
from training.serving.calls import open_channel, told_in_words

_ROLES = {
    model_pb2.MODEL_ROLE_BI_ENCODER: "bi_encoder",
    model_pb2.MODEL_ROLE_FIRST_RERANKER: "first_reranker",
    model_pb2.MODEL_ROLE_SECOND_RERANKER: "second_reranker",
}


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What serves in a role. `registry_model`, `version`: "" of a model not of the registry."""

    role: str  # "bi_encoder", "first_reranker" or "second_reranker"
    name: str
    revision: str
    canary_revision: str
    registry_model: str
    version: str


@dataclass(frozen=True, slots=True)
class ModelChange:
    """How far a change is: `done` documents of `total` while a bi-encoder's vectors are made."""

    phase: str  # "fetching", "loading", "checking", "encoding" or "flipped"
    done: int = 0
    total: int = 0


def serving_models(address: str, timeout_seconds: float) -> dict[str, ServingModel]:
    """By role. Raises SidecarError."""
    with told_in_words(address), open_channel(address) as channel:
        request = model_pb2.ListModelsRequest()
        found = _stub(channel).ListModels(request, timeout=timeout_seconds)
    models = [
        ServingModel(
            _ROLES[each.role],
            each.model,
            each.revision,
            each.canary_revision,
            each.registry_model,
            each.version,
        )
        for each in found.models
    ]
    return {model.role: model for model in models}


def files_of(address: str, model: str, version: str, timeout_seconds: float) -> dict[str, str]:
    """sha256 hex digests of a version's files, by name. Raises RefusedError, SidecarError."""
    with told_in_words(address), open_channel(address) as channel:
        request = model_pb2.DescribeModelRequest(model=model, version=version)
        return dict(_stub(channel).DescribeModel(request, timeout=timeout_seconds).files)


def activate(address: str, model: str, version: str) -> Iterator[ModelChange]:
    """Makes a version serve all sessions; its steps, the last one "flipped". What serves goes on
    serving if this raises RefusedError (unknown) or SidecarError (refused: the message says why).
    """
    request = model_pb2.ActivateModelRequest(model=model, version=version)
    with told_in_words(address), open_channel(address) as channel:
        for response in _stub(channel).ActivateModel(request):
            yield _to_change(response.change)


def start_canary(address: str, model: str, version: str, share: float) -> Iterator[ModelChange]:
    """Makes a version serve a share of the sessions, likewise."""
    request = model_pb2.StartCanaryRequest(model=model, version=version, share=share)
    with told_in_words(address), open_channel(address) as channel:
        for response in _stub(channel).StartCanary(request):
            yield _to_change(response.change)


def _stub(channel: grpc.Channel) -> model_pb2_grpc.ModelServiceStub:
    return model_pb2_grpc.ModelServiceStub(channel)


def _to_change(change: model_pb2.ModelChange) -> ModelChange:
    name = model_pb2.ChangePhase.Name(change.phase).removeprefix("CHANGE_PHASE_").lower()
    return ModelChange(name, change.done, change.total)

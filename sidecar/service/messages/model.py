"""model.proto: requests checked, models and changes out."""

from __future__ import annotations

import json

from sidecar.pipeline.comparison.statistics import VariantStatistics
from sidecar.pipeline.exchange.flips import Canary
from sidecar.pipeline.exchange.standing_models import (
    ChangePhase,
    DescribedVersion,
    ModelChange,
    ServingModel,
)
from sidecar.pipeline.variant import CANARY, PRODUCTION
from sidecar.service.messages.checks import check_text
from sidecar.v1 import model_pb2

MAX_NAME_BYTES = 64
_ROLES = {
    "bi_encoder": model_pb2.MODEL_ROLE_BI_ENCODER,
    "first_reranker": model_pb2.MODEL_ROLE_FIRST_RERANKER,
    "second_reranker": model_pb2.MODEL_ROLE_SECOND_RERANKER,
}
_PHASES = {phase: f"CHANGE_PHASE_{phase.name}" for phase in ChangePhase}


def check_model(model: str) -> None:
    """Raises unless a text can be the name of a model."""
    check_text("model", model, MAX_NAME_BYTES)


def check_version(version: str) -> None:
    """Raises unless a text can be a version or an alias."""
    check_text("version", version, MAX_NAME_BYTES)


def from_change(change: ModelChange) -> model_pb2.ModelChange:
    """The message of a change."""
    return model_pb2.ModelChange(
        model=change.model,
        version=change.version,
        canary=change.canary,
        phase=_PHASES[change.phase],
        done=change.done,
        total=change.total,
    )


def from_serving(model: ServingModel) -> model_pb2.ServingModel:
    """The message of a model that serves."""
    return model_pb2.ServingModel(
        role=_ROLES[model.role],
        model=model.name,
        revision=model.revision,
        canary_revision=model.canary_revision,
        registry_model=model.registry_model,
        version=model.version,
        versions=[_from_version(version) for version in model.versions],
    )


def from_description(described: DescribedVersion) -> model_pb2.DescribeModelResponse:
    """The message of one version, whole."""
    contract = described.published.contract
    return model_pb2.DescribeModelResponse(
        version=_from_version(described),
        kind=str(contract.get("kind", "")),
        languages=[str(language) for language in contract.get("languages") or ()],
        max_tokens=int(contract.get("max_tokens") or 0),
        dimensions=int(contract.get("dimensions") or 0),
        pooling=str(contract.get("pooling") or ""),
        query_prefix=str(contract.get("query_prefix") or ""),
        passage_prefix=str(contract.get("passage_prefix") or ""),
        golden_pairs=len(contract.get("golden_pairs") or ()),
        calibrated=contract.get("calibration") is not None,
        files=described.published.files,
        contract_json=json.dumps(contract, ensure_ascii=False),
    )


def from_comparison(production: str, canary: Canary) -> model_pb2.CompareModelsResponse:
    """The message of how a canary compares with the version that is production."""
    seen, preferred = canary.comparison.statistics, canary.comparison.preference()
    return model_pb2.CompareModelsResponse(
        production=_from_statistics(production, seen(PRODUCTION)),
        canary=_from_statistics(canary.origin.version, seen(CANARY)),
        canary_wins=preferred.canary_wins,
        production_wins=preferred.production_wins,
        ties=preferred.ties,
        preference=preferred.share,
        preference_lower=None if preferred.share is None else preferred.lower,
        preference_upper=None if preferred.share is None else preferred.upper,
        winner=preferred.winner,
    )


def _from_statistics(version: str, seen: VariantStatistics) -> model_pb2.VariantStatistics:
    return model_pb2.VariantStatistics(
        version=version,
        answers=seen.answers,
        failure_share=seen.failure_share,
        p50_milliseconds=seen.p50_seconds * 1000.0,
        p99_milliseconds=seen.p99_seconds * 1000.0,
    )


def _from_version(described: DescribedVersion) -> model_pb2.ModelVersion:
    published = described.published
    message = model_pb2.ModelVersion(
        version=published.version, revision=published.revision, aliases=described.aliases
    )
    message.published.FromMilliseconds(round(published.published * 1000.0))
    return message

"""Models as the sidecar opens them, each once, whatever systems they are part of."""

from __future__ import annotations

from collections.abc import Callable
from filecmp import cmp
from pathlib import Path
from typing import Any

from sidecar.config import Config
from sidecar.errors import ModelError
from sidecar.models.base import CrossEncoder
from sidecar.models.contract import CONTRACT_FILE, ModelContract
from sidecar.models.hub import find_folder
from sidecar.models.load import close_model
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.variant import CONFIGURED, ModelSet, Shared, Variant
from training.evaluation.decoders import DecoderBiEncoder, DecoderReranker, is_decoder
from training.models.production import ROLES, Models

Tell = Callable[[str], None]


class OpenedModels:
    """Those of one role run alike: in the runtime that the first of them was given."""

    def __init__(self, config: Config, folder: Path, tell: Tell) -> None:
        """`folder` keeps choices of runtimes; `tell` is told what is opened."""
        self._workshop, self._tell = Workshop(config, folder), tell
        self._opened: dict[tuple[str, str], Shared[Any]] = {}
        self._first: dict[str, ModelContract] = {}  # by role: whose runtime the others take
        self._places: dict[tuple[str, str, str], str] = {}

    def open(self, role: str, model: str) -> Shared[Any]:
        """Of one of ROLES, by a carried name or a folder. Raises ModelError."""
        if (role, model) in self._opened:
            return self._opened[role, model]
        like = self._first.get(role)
        measured = "; runtimes are measured for a minute where it has not run here before"
        self._tell(f"opening {model}{'' if like else measured}")
        opened = self._open(role, model, like)
        contract: ModelContract = opened.model.contract
        self._check_identity(role, model, contract)
        self._first.setdefault(role, contract)
        self._opened[role, model] = opened
        return opened

    def contract(self, role: str, model: str) -> ModelContract:
        """Of a model, which is opened for it if need be. Raises ModelError."""
        contract: ModelContract = self.open(role, model).model.contract
        return contract

    def variant(self, name: str, models: Models) -> Variant:
        """The pipelines over some models; the caller closes its search. Raises ModelError."""
        chosen = {role: self.open(role, models.of(role)) for role in ROLES if models.of(role)}
        return self._workshop.variant(name, ModelSet(**chosen))

    def close(self) -> None:
        """Once nothing runs over them."""
        for model in self._opened.values():
            model.close()

    def _open(self, role: str, model: str, like: ModelContract | None) -> Shared[Any]:
        if role == "bi_encoder":
            if is_decoder(model, "bi-encoder"):
                return Shared(DecoderBiEncoder(model), CONFIGURED, close_model)
            opened: Shared[Any] = _there(self._workshop.open_bi_encoder(model, CONFIGURED, like))
            return opened
        if is_decoder(model, "cross-encoder"):
            return self._workshop.reranker_of(role, DecoderReranker(model))
        encoder: CrossEncoder = _there(self._workshop.open_cross_encoder(role, model, like))
        return self._workshop.reranker_of(role, encoder)

    def _check_identity(self, role: str, model: str, contract: ModelContract) -> None:
        """Scores and vectors are kept by name and revision: two models must differ in them."""
        identity = (contract.kind, contract.name, contract.revision)
        other = self._places.setdefault(identity, model)
        if other != model and not _same_files(other, model):
            raise ModelError(
                f"{other} and {model} both say that they are {contract.name} "
                f"{contract.revision}: a {role} needs a revision of its own"
            )


def _there(model: Any) -> Any:
    """A model that was named is there."""
    assert model is not None
    return model


def _same_files(one: str, other: str) -> bool:
    """Whether two folders hold the same contract, whose digests are those of their files."""
    first, second = (find_folder(model, "")[0] / CONTRACT_FILE for model in (one, other))
    return first.is_file() and second.is_file() and cmp(first, second, shallow=False)

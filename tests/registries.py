"""Model folders that are published in tests, and a workshop that opens fakes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import BI_ENCODER_CONTRACT, CROSS_ENCODER_CONTRACT, FakeBiEncoder, FakeCrossEncoder

from sidecar.config import BiEncoderConfig, Config, RegistryConfig, RerankerConfig
from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import ModelContract, read_contract, to_json
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.feedback import open_feedback
from sidecar.pipeline.resolution import resolve_models
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import PRODUCTION, Origin, Shared
from sidecar.recall.catalog import Catalog
from sidecar.server import Loaded
from sidecar.service.parts import Parts, build_parts
from sidecar.storage.registry import Registry, open_registry

GOLDEN = (("green tea", "tea that is green", 1.0), ("green tea", "red paint", 0.0))
CROSS_ENCODER = dataclasses.replace(CROSS_ENCODER_CONTRACT, golden_pairs=GOLDEN)
BI_ENCODER = dataclasses.replace(BI_ENCODER_CONTRACT, golden_pairs=GOLDEN)


def model_folder(
    folder: Path, contract: ModelContract = CROSS_ENCODER, weights: str = "sound", **keys: Any
) -> Path:
    """A folder that can be published; `keys` are further ones of its contract."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(weights)
    (folder / "tokenizer.json").write_text("{}")
    digest = hashlib.sha256(weights.encode()).hexdigest()
    tree = to_json(contract) | {"files": {"model.onnx": digest}} | keys
    (folder / "contract.json").write_text(json.dumps(tree))
    return folder


class ClosedFake(FakeCrossEncoder):
    """Says whether it was closed."""

    closed = False

    def close(self) -> None:
        """As a loaded model's."""
        self.closed = True


class FakeWorkshop(Workshop):
    """Opens a fake for each folder, as its weights say: "broken" (it cannot be opened),
    "nan" (it gives no numbers), "failing" (it fails on what the tests ask) or "sound"."""

    registered: Registered

    def open_bi_encoder(
        self, model: str, origin: Origin, like: ModelContract | None = None
    ) -> Shared[BiEncoder]:
        """As Workshop."""
        encoder = FakeBiEncoder(_contract(Path(model), "bi-encoder"))
        return Shared(encoder, origin, lambda _: None)

    def open_cross_encoder(
        self, role: str, model: str, like: ModelContract | None = None
    ) -> CrossEncoder:
        """As Workshop."""
        self.registered.before_open(model)
        contract = _contract(Path(model), "cross-encoder")
        weights = (Path(model) / "model.onnx").read_text()
        encoder = ClosedFake(
            contract,
            nan_words=["water"] if weights == "nan" else [],
            raise_words=["tea", "paint"] if weights == "failing" else [],
            before_score=self.registered.before_score,
            concurrency=2,
            template_digest="fa6e",
        )
        self.registered.opened.append(encoder)
        return encoder


def _contract(folder: Path, kind: str) -> ModelContract:
    contract = read_contract(folder / "contract.json")
    if contract.kind != kind:
        raise ModelError(f"{contract.name} is a {contract.kind}, a {kind} is wanted here")
    if (folder / "model.onnx").read_text() == "broken":
        raise ModelError("a golden pair is off by 3 from the score that the contract names")
    return contract


@dataclass
class Registered:
    """A registry with the models "encoder", "first" and "second", each in two versions of which the
    first is production, and the sidecar that takes its models from it."""

    folder: Path
    config: Config
    registry: Registry
    parts: Parts | None = None
    before_open: Callable[[str], None] = lambda _: None
    before_score: Callable[[Any], None] | None = None
    opened: list[ClosedFake] = field(default_factory=list)

    def publish(self, model: str, weights: str = "sound", **keys: Any) -> str:
        """A further version."""
        contract = BI_ENCODER if model == "encoder" else CROSS_ENCODER
        contract = dataclasses.replace(contract, name=f"fake-{model}")
        folder = model_folder(self.folder / "models" / uuid.uuid4().hex, contract, weights, **keys)
        return self.registry.publish(folder, model)

    def load(self, config: Config, data_dir: Path) -> Loaded:
        """As `server.load_parts`."""
        resources = contextlib.ExitStack()
        config, origins = resolve_models(config, self.registry)
        workshop = FakeWorkshop(config, data_dir, self.registry, origins)
        workshop.registered = self
        models = workshop.open_configured()
        serving = Serving(workshop.variant(PRODUCTION, models))
        resources.callback(serving.close)
        late = resources.enter_context(contextlib.ExitStack())
        assert models.bi_encoder is not None
        catalog = Catalog.open(data_dir, models.bi_encoder.model, config)
        resources.callback(catalog.close)
        feedback, close_feedback = open_feedback(config.feedback, data_dir)
        resources.callback(close_feedback)
        self.parts = build_parts(workshop, serving, catalog, feedback, config)
        late.callback(self.parts.changes.close)
        return Loaded(self.parts, resources, serving.warm_up)


def registered(folder: Path, config: Config) -> Registered:
    """The registry in a folder, and the configuration with its models."""
    config = dataclasses.replace(
        config,
        registry=RegistryConfig(url=str(folder / "registry")),
        bi_encoder=BiEncoderConfig(model="registry:encoder"),
        first_reranker=RerankerConfig(model="registry:first", depth=20),
        second_reranker=RerankerConfig(model="registry:second", depth=5),
    )
    made = Registered(folder, config, open_registry(config.registry, folder / "data"))
    for model in ("encoder", "first", "second"):
        made.publish(model)
        made.publish(model)
        made.registry.move_aliases(model, {"production": "1"}, {})
    return made

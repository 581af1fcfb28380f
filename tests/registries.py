"""Model folders that are published in tests, and a workshop that opens fakes of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from fakes import BI_ENCODER_CONTRACT, CROSS_ENCODER_CONTRACT, FakeBiEncoder, FakeCrossEncoder

from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import ModelContract, read_contract, to_json
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.variant import Origin, Shared

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


class FakeWorkshop(Workshop):
    """Opens a fake for each folder. What its weights say: "sound", "broken" (it cannot be opened),
    "nan" (it gives no numbers) or anything else."""

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
        contract = _contract(Path(model), "cross-encoder")
        is_nan = (Path(model) / "model.onnx").read_text() == "nan"
        return FakeCrossEncoder(contract, nan_words=["water"] if is_nan else [])


def _contract(folder: Path, kind: str) -> ModelContract:
    contract = read_contract(folder / "contract.json")
    if contract.kind != kind:
        raise ModelError(f"{contract.name} is a {contract.kind}, a {kind} is wanted here")
    if (folder / "model.onnx").read_text() == "broken":
        raise ModelError("a golden pair is off by 3 from the score that the contract names")
    return contract

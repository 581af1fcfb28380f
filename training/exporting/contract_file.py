"""The contract of an exported folder: what the sidecar reads (sidecar/models/contract.py), and what
people and later trainings want to know besides.

    activation        "none": scores are logits, whatever reads them lays nothing over them
    head, template    as model_spec says; template_digest is sha256 of the prompt
    passage_format    how the sidecar makes a passage of a document
    base, licence     what training began with
    training          where it comes from: run, commit, seed, how many lists, dev measure
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.models.contract import CONTRACT_FILE, ModelContract, ScoreCalibration, to_json
from sidecar.storage.files import digest_of
from training.models.spec import ModelSpec

PASSAGE_FORMAT = "{title}\n{text}"
_WEIGHTS = (".onnx", ".safetensors")
GoldenPair = tuple[str, str, float]


def contract_of(
    spec: ModelSpec,
    name: str,
    dimensions: int,
    golden: Sequence[GoldenPair],
    weight: float,
    calibration: ScoreCalibration | None,
    lineage: Mapping[str, Any],
) -> dict[str, Any]:
    """Without revision and files, which `write_contract` adds."""
    contract = ModelContract(
        name=name,
        kind=spec.kind,
        revision="",
        languages=spec.languages,
        max_tokens=spec.max_tokens,
        max_query_tokens=spec.query_tokens,
        max_passage_tokens=spec.passage_tokens,
        dimensions=dimensions if spec.kind == "bi-encoder" else 0,
        pooling=spec.pooling,
        normalize=spec.normalize,
        query_prefix=spec.query_prefix,
        passage_prefix=spec.passage_prefix,
        weight=weight,
        calibration=calibration,
        golden_pairs=tuple(golden),
    )
    return {
        **to_json(contract),
        "activation": "none",
        "head": spec.head,
        "template": spec.template,
        "template_digest": spec.template_digest,
        "passage_format": PASSAGE_FORMAT,
        "base": spec.base,
        "base_revision": spec.base_revision,
        "licence": spec.licence,
        "training": dict(lineage),
    }


def write_contract(folder: Path, contract: Mapping[str, Any]) -> dict[str, Any]:
    """contract.json over the files that are in the folder; with their digests, and a revision from
    those of the weights."""
    files = {
        path.relative_to(folder).as_posix(): digest_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CONTRACT_FILE
    }
    written = {**contract, "revision": f"1-{_revision(files)}", "files": files}
    text = json.dumps(written, indent=2, ensure_ascii=False)
    (folder / CONTRACT_FILE).write_text(text + "\n", encoding="utf-8")
    return written


def _revision(files: Mapping[str, str]) -> str:
    weights = _digests_of_weights(files.items())
    return weights[0][:12] if len(weights) == 1 else "-".join(each[:6] for each in weights[:2])


def _digests_of_weights(files: Iterable[tuple[str, str]]) -> list[str]:
    return [digest for name, digest in sorted(files) if name.endswith(_WEIGHTS)]

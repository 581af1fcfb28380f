"""The models that the package carries: whole, small enough, and right in both runtimes."""

import hashlib
import json

import pytest
from scoring import scores_of

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.models.hub import CARRIED
from sidecar.models.load import load_bi_encoder, load_cross_encoder

LARGEST_BYTES = 60_000_000
FOLDERS = {folder.name: folder for folder in sorted(CARRIED.iterdir())}


def contract(name):
    return json.loads((FOLDERS[name] / "contract.json").read_text(encoding="utf-8"))


def test_which_they_are():
    assert set(FOLDERS) == {"all-minilm-l6-v2", "pair-minilm-l3", "pair-minilm-l6"}


def test_together_within_the_limit():
    sizes = [file.stat().st_size for folder in FOLDERS.values() for file in folder.iterdir()]
    assert sum(sizes) <= LARGEST_BYTES


@pytest.mark.parametrize("name", FOLDERS)
def test_files_are_those_of_the_contract(name):
    digests = contract(name)["files"]
    assert set(digests) == {"model.onnx", "tokenizer.json"}
    for file, digest in digests.items():
        assert hashlib.sha256((FOLDERS[name] / file).read_bytes()).hexdigest() == digest
    assert contract(name)["revision"] == f"1-{digests['model.onnx'][:12]}"


@pytest.mark.parametrize("name", FOLDERS)
def test_a_card_says_what_it_is(name):
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    for heading in ("## What it was trained on", "## Licence", "## Figures", "## Limits"):
        assert heading in card


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", FOLDERS)
def test_golden_pairs_in_fp32(name, runtime, tmp_path):
    about, fixed = contract(name), RuntimeConfig(runtime=runtime, precision="fp32")
    score = scorer(about, fixed, tmp_path)
    for pair in about["golden_pairs"]:
        assert score(pair["query"], pair["passage"]) == pytest.approx(pair["score"], abs=1e-4)


def scorer(about, fixed, data_dir):
    """(query, passage) -> what the contract calls its score."""
    if about["kind"] == "bi-encoder":
        encoder = load_bi_encoder(BiEncoderConfig(model=about["name"]), fixed, data_dir)

        def cosine(query, passage):
            vectors = [*encoder.encode_queries([query]), *encoder.encode_passages([passage])]
            return float(vectors[0] @ vectors[1])

        return cosine
    model = load_cross_encoder(RerankerConfig(model=about["name"]), fixed, data_dir)
    return lambda query, passage: scores_of(model, query, [passage])[0]

"""What `models/base.py` promises, of every implementation: the carried models and the fakes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import FakeBiEncoder, FakeCrossEncoder

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.hub import CARRIED
from sidecar.models.load import load_bi_encoder, load_cross_encoder
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.runtime import Choice
from sidecar.models.tokenizing import Tokenizer

FIXED = RuntimeConfig(runtime="onnxruntime", precision="fp32")
QUERY = "how long to boil eggs"
PASSAGES = ["Boil the eggs for six minutes.", "", "egg " * 300, "Hiking boots.", "蛋 煮 六 分钟"]


@pytest.fixture(scope="module", params=["carried", "fake"])
def cross_encoder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> CrossEncoder:
    if request.param == "fake":
        return FakeCrossEncoder()
    config = RerankerConfig(model="pair-minilm-l3")
    loaded = load_cross_encoder(config, FIXED, tmp_path_factory.mktemp("data"))
    assert loaded is not None
    return loaded


@pytest.fixture(scope="module", params=["carried", "fake"])
def bi_encoder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BiEncoder]:
    if request.param == "fake":
        yield FakeBiEncoder()
        return
    loaded = load_bi_encoder(BiEncoderConfig(), FIXED, tmp_path_factory.mktemp("data"))
    assert loaded is not None
    yield loaded


def test_one_pair_for_each_passage_within_the_budgets(cross_encoder: CrossEncoder) -> None:
    pairs = cross_encoder.tokenize(QUERY, PASSAGES, 3, 10)
    assert len(pairs) == len(PASSAGES)
    for pair in pairs:
        assert len(pair.input_ids) == len(pair.token_type_ids) <= 3 + 10 + 3
        assert pair.token_count >= len(pair.input_ids)
        assert pair.truncated == (pair.token_count > len(pair.input_ids))
    assert pairs[2].truncated
    assert cross_encoder.tokenize(QUERY, [], 3, 10) == []


def test_scores_follow_the_pairs_whatever_the_batch(cross_encoder: CrossEncoder) -> None:
    pairs = cross_encoder.tokenize(QUERY, PASSAGES, 64, 128)
    together = cross_encoder.score(pairs)
    assert together.shape == (len(PASSAGES),)
    assert together.dtype == np.float32
    alone = np.concatenate([cross_encoder.score([pair]) for pair in pairs])
    np.testing.assert_allclose(alone, together, atol=1e-4)
    np.testing.assert_allclose(cross_encoder.score(pairs[::-1]), together[::-1], atol=1e-4)


def test_cross_encoders_score_from_several_threads(cross_encoder: CrossEncoder) -> None:
    assert cross_encoder.contract.kind == "cross-encoder"
    assert cross_encoder.concurrency >= 1
    pairs = cross_encoder.tokenize(QUERY, PASSAGES, 64, 64)
    wanted = cross_encoder.score(pairs)
    start = threading.Barrier(4)

    def score(_: int) -> np.ndarray:
        start.wait(10)
        return cross_encoder.score(pairs)

    with ThreadPoolExecutor(4) as workers:
        for scores in workers.map(score, range(4)):
            np.testing.assert_allclose(scores, wanted, atol=1e-4)


def test_vectors_are_unit_rows_in_order(bi_encoder: BiEncoder) -> None:
    contract = bi_encoder.contract
    assert contract.kind == "bi-encoder"
    for encode in (bi_encoder.encode_queries, bi_encoder.encode_passages):
        vectors = encode(PASSAGES)
        assert vectors.shape == (len(PASSAGES), contract.dimensions)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
        alone = np.concatenate([encode([text]) for text in PASSAGES])
        np.testing.assert_allclose(alone, vectors, atol=1e-4)
        assert encode([]).shape == (0, contract.dimensions)


def test_like_texts_are_near(bi_encoder: BiEncoder) -> None:
    query = bi_encoder.encode_queries(["boil eggs"])[0]
    near, far = bi_encoder.encode_passages(["boil the eggs", "waterproof hiking boots"])
    assert query @ near > query @ far


def test_a_model_that_gives_another_shape_is_an_error() -> None:
    """A bi-encoder's file under a cross-encoder's contract."""
    folder = CARRIED / "all-minilm-l6-v2"
    runtime = OnnxRuntime(folder / "model.onnx", Choice("onnxruntime", "fp32"), 1)
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 256)
    contract = ModelContract(name="odd", kind="cross-encoder", revision="1")
    model = LocalCrossEncoder(contract, tokenizer, runtime)
    with pytest.raises(ModelError, match="one logit a pair"):
        model.score(model.tokenize(QUERY, PASSAGES[:2], 64, 64))

"""What `models/base.py` promises, of every implementation: the carried models and the fakes."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import FakeBiEncoder, FakeCrossEncoder
from scoring import pairs_of, scores_of

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.errors import ModelError
from sidecar.models.base import BiEncoder, CrossEncoder, Pair
from sidecar.models.contract import ModelContract
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.hub import CARRIED
from sidecar.models.load import load_bi_encoder, load_cross_encoder
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.runtime import Choice
from sidecar.models.tokenizing import Tokenizer
from sidecar.types import Truncation

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
    read = cross_encoder.tokenize(QUERY, PASSAGES, Truncation(3, 10))
    assert len(read) == len(PASSAGES)
    for passage in read:
        (pair,) = passage.pairs
        assert isinstance(pair, Pair)
        assert pair.length == len(pair.token_type_ids) <= 3 + 10 + 3
        assert passage.token_count >= pair.length
        assert passage.truncated == (passage.token_count > pair.length)
    assert read[2].truncated
    assert cross_encoder.tokenize(QUERY, [], Truncation()) == []


async def test_scores_follow_the_pairs_whatever_the_batch(cross_encoder: CrossEncoder) -> None:
    pairs = pairs_of(cross_encoder, QUERY, PASSAGES, Truncation(64, 128))
    together = await cross_encoder.score(pairs)
    assert together.shape == (len(PASSAGES),)
    assert together.dtype == np.float32
    alone = np.concatenate([await cross_encoder.score([pair]) for pair in pairs])
    np.testing.assert_allclose(alone, together, atol=1e-4)
    np.testing.assert_allclose(await cross_encoder.score(pairs[::-1]), together[::-1], atol=1e-4)


async def test_batches_may_be_scored_side_by_side(cross_encoder: CrossEncoder) -> None:
    assert cross_encoder.contract.kind == "cross-encoder"
    assert cross_encoder.feed.side_by_side >= 1
    assert cross_encoder.feed.batch_tokens >= 1
    assert bytes.fromhex(cross_encoder.template_digest)
    pairs = pairs_of(cross_encoder, QUERY, PASSAGES)
    wanted = await cross_encoder.score(pairs)
    for scores in await asyncio.gather(*(cross_encoder.score(pairs) for _ in range(4))):
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
        scores_of(model, QUERY, PASSAGES[:2])

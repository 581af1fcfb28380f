"""Decoders, which no sidecar serves by itself, are measured all the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from sidecar.config_file import load_config
from sidecar.evaluation.beir import JudgedSet
from training.evaluation.decoders import DecoderReranker, is_decoder
from training.evaluation.systems import Systems, read_passages_of
from training.fine_tuning.opening import open_base
from training.fine_tuning.scoring import score_pairs
from training.models.production import Models

from .evaluated import SIDECAR, write_shop
from .tiny_models import write_encoder, write_qwen3

QUERIES = {"q1": "light to read by at night red", "q2": "reach a high shelf blue"}


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    write_qwen3(tmp_path / "qwen")
    return tmp_path / "qwen"


def test_a_decoder_is_known_by_its_architecture(tmp_path: Path, qwen: Path) -> None:
    write_encoder(tmp_path / "bert", "bert", "cross-encoder")
    assert is_decoder(str(qwen), "cross-encoder")
    assert not is_decoder(str(tmp_path / "bert"), "cross-encoder")
    assert not is_decoder("pair-minilm-l6", "cross-encoder")


def test_the_sidecars_pipeline_ranks_by_the_scores_of_training(tmp_path: Path, qwen: Path) -> None:
    corpus = write_shop(tmp_path)["collect"]
    none = {"bi_encoder": "", "first_reranker": "", "second_reranker": ""}
    (tmp_path / "sidecar.toml").write_text(SIDECAR.format(**none))
    config = load_config(tmp_path / "sidecar.toml", {})
    judged = JudgedSet("shop", QUERIES, {query_id: {} for query_id in QUERIES})
    models = Models("", "", str(qwen))
    with Systems(config, corpus, tmp_path / "indexes", tmp_path / "kept") as systems:
        ranked = systems.search("candidate", models, "second_reranker", judged)
    assert ranked.failed == 0
    opened = open_base(str(qwen), "cross-encoder")
    for query_id, text in QUERIES.items():
        head = ranked.rankings["fused"][query_id][:10]
        passages = read_passages_of(corpus, set(head))
        expected = score_pairs(opened, [(text, passages[doc_id]) for doc_id in head])
        found = [ranked.scores[query_id][doc_id] for doc_id in head]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)
        order = [head[place] for place in np.argsort(-expected, kind="stable")]
        assert ranked.rankings["second_rerank"][query_id][:10] == order


async def test_scores_are_those_of_pairs_that_were_tokenized(qwen: Path) -> None:
    reranker = DecoderReranker(str(qwen))
    read = reranker.tokenize("a lamp", ["red lamp", "a garden hose " * 200], None)
    scores = await reranker.score([pair for each in read for pair in each.pairs])
    assert scores.dtype == np.float32
    assert scores.shape == (2,)
    assert all(math.isfinite(score) for score in scores)
    assert read[0].token_count < read[1].token_count

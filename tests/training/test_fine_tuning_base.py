"""Every family opens with the head that is wanted; what is no such model is refused with the
reason."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, Qwen3ForCausalLM

from sidecar.errors import ConfigurationError, ModelError
from sidecar.models.contract import read_contract
from sidecar.models.hub import CARRIED
from sidecar.storage.registry import Registry
from sidecar.storage.registry_store import open_store
from training.config import FineTuneConfig, PublishConfig, TrainingConfig
from training.fine_tuning.opening import open_base, open_configured
from training.fine_tuning.scoring import encode_passages, encode_queries, score_pairs
from training.models.spec import write_spec

from .tiny_models import ENCODERS, PAIRS, write_encoder, write_qwen3, write_sentence_transformers

# -- carried


@pytest.mark.parametrize("name", ["pair-minilm-l3", "pair-minilm-l6"])
def test_a_carried_reranker_gives_its_golden_scores(name):
    opened = open_base(name, "cross-encoder")
    contract = read_contract(CARRIED / name / "contract.json")
    scores = score_pairs(opened, [(query, passage) for query, passage, _ in contract.golden_pairs])
    assert scores.tolist() == pytest.approx([s for _, _, s in contract.golden_pairs], abs=1e-4)
    spec = opened.spec
    assert (spec.query_tokens, spec.passage_tokens, spec.max_tokens) == (48, 205, 256)
    assert (spec.weight, spec.languages, spec.licence) == (contract.weight, ("en",), "Apache-2.0")
    assert (spec.base, spec.base_revision) == (name, contract.revision)
    assert (spec.head, spec.template, spec.template_digest) == ("classifier", "", "")


def test_the_carried_bi_encoder_gives_its_golden_cosines():
    opened = open_base("", "bi-encoder")
    golden = read_contract(CARRIED / "all-minilm-l6-v2" / "contract.json").golden_pairs
    queries = encode_queries(opened, [query for query, _, _ in golden])
    passages = encode_passages(opened, [passage for _, passage, _ in golden])
    cosines = np.einsum("nd,nd->n", queries, passages)
    assert cosines.tolist() == pytest.approx([score for _, _, score in golden], abs=1e-5)


def test_no_name_is_the_carried_model_of_the_role():
    assert open_base("", "cross-encoder", role="first_reranker").spec.base == "pair-minilm-l3"
    assert open_base("", "cross-encoder").spec.base == "pair-minilm-l6"


def test_budgets_may_be_others_up_to_what_positions_allow():
    spec = open_base("pair-minilm-l6", "cross-encoder", 20, 100).spec
    assert (spec.query_tokens, spec.passage_tokens, spec.max_tokens) == (20, 100, 256)
    spec = open_base("pair-minilm-l6", "cross-encoder", 64, 240).spec
    assert (spec.query_tokens, spec.passage_tokens, spec.max_tokens) == (64, 240, 64 + 240 + 3)
    spec = open_base("pair-minilm-l6", "cross-encoder", 128, 384).spec  # 3 more are special
    assert (spec.query_tokens, spec.passage_tokens, spec.max_tokens) == (128, 384, 512)
    with pytest.raises(ModelError, match="reads 512 tokens at most, 3 of them its own: passage_to"):
        open_base("pair-minilm-l6", "cross-encoder", 48, 1024)


# -- folders


@pytest.mark.parametrize("family", ENCODERS)
def test_a_classifier_scores_as_transformers_scores_it(family, tmp_path):
    write_encoder(tmp_path, family, "cross-encoder")
    opened = open_base(str(tmp_path), "cross-encoder")
    assert opened.spec.head == "classifier"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    for (query, passage), score in zip(PAIRS, score_pairs(opened, PAIRS), strict=True):
        longest = _length(opened, query) + opened.spec.passage_tokens
        texts = opened.tokenizer(
            query,
            passage,
            truncation="only_second",
            return_tensors="pt",
            max_length=min(longest, opened.spec.max_tokens),
        )
        with torch.no_grad():
            assert score == pytest.approx(float(model(**texts).logits[0, 0]), abs=1e-5)


def _length(opened, query):
    """Tokens of a query with all special ones."""
    special = opened.tokenizer.num_special_tokens_to_add(pair=True)
    return special + len(opened.tokenizer(query, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("family", ENCODERS)
def test_a_bare_encoder_is_a_bi_encoder_that_pools_by_the_mean(family, tmp_path):
    write_encoder(tmp_path, family, "bi-encoder")
    opened = open_base(str(tmp_path), "bi-encoder")
    assert (opened.spec.head, opened.spec.pooling) == ("none", "mean")
    found = encode_passages(opened, [passage for _, passage in PAIRS])
    for (_, passage), vector in zip(PAIRS, found, strict=True):
        ids = opened.tokenizer(passage, truncation=True, return_tensors="pt")
        with torch.no_grad():
            mean = opened.model(**ids).last_hidden_state[0].mean(dim=0)
        expected = torch.nn.functional.normalize(mean, dim=0)
        assert vector == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
    ],
)
def test_sentence_transformers_says_how_it_pools_and_prompts(pooling, expected, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", reason="the oracle")
    write_encoder(tmp_path, "bert", "bi-encoder")
    write_sentence_transformers(
        tmp_path,
        {"word_embedding_dimension": 128, **pooling},
        {"query": "query: ", "document": "passage: "},
    )
    opened = open_base(str(tmp_path), "bi-encoder")
    spec = opened.spec
    assert (spec.pooling, spec.query_prefix, spec.passage_prefix) == (
        expected,
        "query: ",
        "passage: ",
    )
    oracle = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    texts = [query for query, _ in PAIRS]
    expected_vectors = oracle.encode(texts, prompt_name="query", normalize_embeddings=True)
    assert encode_queries(opened, texts) == pytest.approx(expected_vectors, abs=1e-5)


def test_what_training_wrote_opens_with_what_it_was_told(tmp_path):
    opened = open_base("pair-minilm-l3", "cross-encoder", 20, 60)
    spec = dataclasses.replace(opened.spec, weight=0.75, licence="of somebody")
    opened.model.save_pretrained(tmp_path)
    opened.tokenizer.save_pretrained(tmp_path)
    write_spec(spec, tmp_path)
    again = open_base(str(tmp_path), "cross-encoder")
    assert again.spec == spec
    assert score_pairs(again, PAIRS) == pytest.approx(score_pairs(opened, PAIRS), abs=1e-6)
    with pytest.raises(ModelError, match="is a cross-encoder, a bi-encoder is wanted here"):
        open_base(str(tmp_path), "bi-encoder")


def test_production_of_a_registry_is_what_training_begins_with(tmp_path):
    url = str(tmp_path / "registry")
    registry = Registry(open_store(url, tmp_path / "copies"))
    version = registry.publish(CARRIED / "pair-minilm-l3", "ranker")
    publish = PublishConfig(registry=url, reranker="ranker")
    config = TrainingConfig(publish=publish)
    assert open_configured(config, "reranker").spec.base == "pair-minilm-l6"  # nothing serves yet
    registry.move_aliases("ranker", {"production": version}, {})
    spec = open_configured(config, "reranker").spec
    assert spec.base == "ranker"
    assert spec.base_revision == registry.describe("ranker", "production").revision
    by_version = open_base(f"registry:ranker@{version}", "cross-encoder", registry=url)
    assert score_pairs(by_version, PAIRS) == pytest.approx(
        score_pairs(open_base("pair-minilm-l3", "cross-encoder"), PAIRS), abs=1e-6
    )
    with pytest.raises(ConfigurationError, match=r"publish\.registry says no registry"):
        open_base("registry:ranker", "cross-encoder")


# -- a language model that reranks


@pytest.mark.parametrize("tied", [True, False])
def test_the_row_of_a_yes_no_reranker_gives_the_log_odds_of_yes_against_no(tied, tmp_path):
    write_qwen3(tmp_path, tie_word_embeddings=tied)
    opened = open_base(str(tmp_path), "cross-encoder")
    assert (opened.spec.head, opened.spec.licence) == ("yes_no", "apache-2.0")
    causal = Qwen3ForCausalLM.from_pretrained(tmp_path).eval()
    yes, no = (opened.tokenizer.backend_tokenizer.token_to_id(each) for each in ("yes", "no"))
    for (query, passage), score in zip(PAIRS[:3], score_pairs(opened, PAIRS[:3]), strict=True):
        prompt = opened.spec.template.replace("{query}", query).replace("{passage}", passage)
        ids = torch.tensor([opened.tokenizer.backend_tokenizer.encode(prompt).ids])
        with torch.no_grad():
            shares = causal(ids).logits[0, -1].double().log_softmax(dim=0)
        assert score == pytest.approx(float(shares[yes] - shares[no]), abs=1e-4)


def test_a_converted_reranker_keeps_its_head_and_its_prompt(tmp_path):
    write_qwen3(tmp_path / "base")
    opened = open_base(str(tmp_path / "base"), "cross-encoder")
    opened.model.save_pretrained(tmp_path / "made")
    opened.tokenizer.save_pretrained(tmp_path / "made")
    write_spec(opened.spec, tmp_path / "made")
    again = open_base(str(tmp_path / "made"), "cross-encoder")
    assert again.spec == opened.spec
    assert score_pairs(again, PAIRS) == pytest.approx(score_pairs(opened, PAIRS), abs=1e-5)


# -- what is refused


def test_a_language_model_that_does_not_say_it_reranks_is_refused(tmp_path):
    write_qwen3(tmp_path)
    (tmp_path / "README.md").unlink()
    with pytest.raises(ModelError, match=r"Qwen3ForCausalLM.*new_head = true"):
        open_base(str(tmp_path), "cross-encoder")
    assert open_base(str(tmp_path), "cross-encoder", new_head=True).spec.head == "yes_no"
    with pytest.raises(ModelError, match=r"no 1_Pooling/config\.json"):
        open_base(str(tmp_path), "bi-encoder")


def test_a_classifier_of_several_labels_is_refused(tmp_path):
    write_encoder(tmp_path, "bert", "cross-encoder", labels=2)
    with pytest.raises(ModelError, match="has 2 labels: a reranker has one"):
        open_base(str(tmp_path), "cross-encoder")


@pytest.mark.parametrize("family", ENCODERS)
def test_a_head_that_is_missing_is_refused_or_made_on_purpose(family, tmp_path):
    write_encoder(tmp_path, family, "bi-encoder")
    with pytest.raises(ModelError, match=r"without a reranker's head: reranker\.new_head = true"):
        open_base(str(tmp_path), "cross-encoder")
    first, second = (open_base(str(tmp_path), "cross-encoder", new_head=True) for _ in range(2))
    assert score_pairs(first, PAIRS).tolist() == score_pairs(second, PAIRS).tolist()
    trunk = open_base(str(tmp_path), "bi-encoder").model
    own = getattr(first.model, first.model.base_model_prefix)
    weights = {n: w for n, w in own.state_dict().items() if not n.startswith("pooler.")}
    assert weights.keys() == trunk.state_dict().keys()
    assert all(torch.equal(weights[name], w) for name, w in trunk.state_dict().items())


def test_a_new_head_on_the_carried_bi_encoder():
    with pytest.raises(ModelError, match="is a bi-encoder, a cross-encoder is wanted here"):
        open_base("all-minilm-l6-v2", "cross-encoder")
    opened = open_base("all-minilm-l6-v2", "cross-encoder", new_head=True)
    assert opened.spec.kind == "cross-encoder"
    assert len(set(score_pairs(opened, PAIRS))) == len(PAIRS)


@pytest.mark.parametrize(("family", "gone"), [("bert", "classifier."), ("qwen3", "score.")])
def test_weights_that_are_not_in_the_file_are_not_drawn_at_random(family, gone, tmp_path):
    if family == "qwen3":
        write_qwen3(tmp_path, "classifier")
    else:
        write_encoder(tmp_path, family, "cross-encoder")
    file = tmp_path / "model.safetensors"
    kept = {name: w for name, w in load_file(file).items() if not name.startswith(gone)}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks weights of its own model \\({gone}"):
        open_base(str(tmp_path), "cross-encoder")


def test_a_cross_encoder_is_no_bi_encoder(tmp_path):
    write_encoder(tmp_path, "bert", "cross-encoder")
    with pytest.raises(ModelError, match="is a cross-encoder"):
        open_base(str(tmp_path), "bi-encoder")


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ModelError, match="did you mean 'pair-minilm-l6'"):
        open_base("pair-minilm-l-6", "cross-encoder")
    with pytest.raises(ModelError, match="holds no weights"):
        open_base(str(tmp_path), "cross-encoder")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="as a pickle"):
        open_base(str(tmp_path), "cross-encoder")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter"):
        open_base(str(tmp_path), "cross-encoder")


def test_a_config_that_cannot_be_read(tmp_path):
    write_encoder(tmp_path, "bert", "cross-encoder")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "of-tomorrow"}))
    with pytest.raises(ModelError, match=r"config\.json cannot be used"):
        open_base(str(tmp_path), "cross-encoder")
    shutil.rmtree(tmp_path)


def test_a_setting_of_its_own_asks_for_a_new_head(tmp_path):
    write_encoder(tmp_path, "bert", "bi-encoder")
    section = FineTuneConfig(base=str(tmp_path), new_head=True, query_tokens=8, passage_tokens=40)
    spec = open_configured(TrainingConfig(reranker=section), "reranker").spec
    assert (spec.query_tokens, spec.passage_tokens) == (8, 40)
    assert spec.base == tmp_path.name

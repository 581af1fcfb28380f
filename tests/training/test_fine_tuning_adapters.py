"""Adapters: what they train, that they come back as they were, and that merging changes nothing."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from sidecar.errors import ConfigurationError
from training.config import FineTuneConfig
from training.fine_tuning.adapters import (
    has_prefix,
    head_modules,
    is_prefix,
    linear_layers,
    load_adapter,
    merged,
    save_adapter,
    with_adapter,
    without_prefix,
)
from training.fine_tuning.forward import pair_scores, vectors
from training.fine_tuning.opening import Opened, open_base
from training.fine_tuning.reading import PairReader, TextReader, pad
from training.fine_tuning.scoring import encode_queries, score_pairs

from .tiny_models import ENCODERS, PAIRS, write_encoder, write_qwen3

LORA = FineTuneConfig(method="lora", lora_rank=4, lora_dropout=0.0)
PREFIX = FineTuneConfig(method="prefix", prefix_tokens=3)
FAMILIES = (*ENCODERS, "qwen3")


def write(folder, family, kind="cross-encoder"):
    if family == "qwen3":
        write_qwen3(folder)
    else:
        write_encoder(folder, family, kind)


def trained(opened, config, steps=3):
    """The adapted model after some steps on all that it says is trained."""
    torch.manual_seed(0)
    model = with_adapter(opened.model, config, opened.spec.kind)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, opened).backward()
        optimizer.step()
    return model.eval()


def loss_of(model, opened):
    if opened.spec.kind == "cross-encoder":
        reader = PairReader(opened.tokenizer, opened.spec)
        batch = pad([reader.read(*pair) for pair in PAIRS], opened.tokenizer)
        scores = pair_scores(model, batch)
        return ((scores - torch.arange(len(PAIRS))) ** 2).mean()
    reader = TextReader(opened.tokenizer, opened.spec)
    batch = pad([reader.query(query) for query, _ in PAIRS], opened.tokenizer)
    made = vectors(model, batch, opened.spec)
    return (made @ made.T).triu(1).sum()


def values(opened, model):
    given = Opened(model, opened.tokenizer, opened.spec)
    if opened.spec.kind == "cross-encoder":
        return torch.from_numpy(score_pairs(given, PAIRS))
    return torch.from_numpy(encode_queries(given, [query for query, _ in PAIRS]))


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_of_a_reranker_saved_loaded_and_merged_scores_the_same(family, tmp_path):
    write(tmp_path / "base", family)
    opened = open_base(str(tmp_path / "base"), "cross-encoder")
    before = values(opened, opened.model)
    head = {name: opened.model.get_submodule(name) for name in head_modules(opened.model)}
    weights = {name: [w.clone() for w in module.parameters()] for name, module in head.items()}
    model = trained(opened, LORA)
    after = values(opened, model)
    assert (after - before).abs().max() > 1e-2
    save_adapter(model, tmp_path / "adapter")
    fresh = open_base(str(tmp_path / "base"), "cross-encoder")
    again = load_adapter(fresh.model, tmp_path / "adapter")
    torch.testing.assert_close(values(opened, again), after, atol=1e-5, rtol=0)
    plain = merged(again)
    assert type(plain) is type(open_base(str(tmp_path / "base"), "cross-encoder").model)
    torch.testing.assert_close(values(opened, plain), after, atol=1e-5, rtol=1e-5)
    for name, old in weights.items():
        new = list(plain.get_submodule(name).parameters())
        assert any(not torch.equal(one, other) for one, other in zip(old, new, strict=True)), name
    assert all(weight.requires_grad for weight in plain.parameters())
    plain.save_pretrained(tmp_path / "merged")  # names are the base's
    names = open_base(str(tmp_path / "base"), "cross-encoder").model.state_dict().keys()
    assert plain.state_dict().keys() == names


@pytest.mark.parametrize("family", ENCODERS)
def test_lora_of_a_bi_encoder(family, tmp_path):
    write(tmp_path / "base", family, "bi-encoder")
    opened = open_base(str(tmp_path / "base"), "bi-encoder")
    before = values(opened, opened.model)
    model = trained(opened, LORA)
    after = values(opened, model)
    assert (after - before).abs().max() > 1e-3
    save_adapter(model, tmp_path / "adapter")
    fresh = open_base(str(tmp_path / "base"), "bi-encoder")
    again = merged(load_adapter(fresh.model, tmp_path / "adapter"))
    torch.testing.assert_close(values(opened, again), after, atol=1e-5, rtol=0)


def test_lora_trains_the_head_and_all_linear_layers_of_the_trunk(tmp_path):
    write(tmp_path, "bert")
    model = open_base(str(tmp_path), "cross-encoder").model
    assert head_modules(model) == ["classifier", "bert.pooler"]
    assert len(linear_layers(model)) == 2 * 6
    adapted = with_adapter(model, LORA, "cross-encoder")
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert {"lora_A" in n or "lora_B" in n or "modules_to_save" in n for n in names} == {True}
    assert sum("lora_A" in name for name in names) == 12
    assert sum("classifier" in name for name in names) == 2
    assert sum("pooler" in name for name in names) == 2


def test_named_targets_alone_are_adapted(tmp_path):
    write(tmp_path, "bert")
    model = open_base(str(tmp_path), "cross-encoder").model
    config = FineTuneConfig(method="lora", lora_targets=("query", "value"))
    adapted = with_adapter(model, config, "cross-encoder")
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(names) == 4
    assert all(".query." in name or ".value." in name for name in names)


def test_full_is_the_model_itself(tmp_path):
    write(tmp_path, "bert")
    model = open_base(str(tmp_path), "cross-encoder").model
    assert with_adapter(model, FineTuneConfig(), "cross-encoder") is model
    assert merged(model) is model


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *(
            (family, kind)
            for family in ("bert", "xlm_roberta")
            for kind in ("cross-encoder", "bi-encoder")
        ),
        ("qwen3", "cross-encoder"),
    ],
)
def test_a_prefix_is_learnt_and_comes_back(family, kind, tmp_path):
    write(tmp_path / "base", family, kind)
    opened = open_base(str(tmp_path / "base"), kind)
    before = values(opened, opened.model)
    model = trained(opened, PREFIX)
    after = values(opened, model)
    assert (after - before).abs().max() > 1e-3
    assert has_prefix(model)
    with pytest.raises(ConfigurationError, match="cannot be merged"):
        merged(model)
    save_adapter(model, tmp_path / "adapter")
    assert is_prefix(tmp_path / "adapter")
    without_prefix(model).save_pretrained(tmp_path / "plain")
    opened.tokenizer.save_pretrained(tmp_path / "plain")
    plain = open_base(str(tmp_path / "plain"), kind)
    again = load_adapter(plain.model, tmp_path / "adapter")
    torch.testing.assert_close(values(opened, again), after, atol=1e-5, rtol=0)


def test_a_family_without_room_for_a_prefix_is_refused(tmp_path):
    write(tmp_path, "modernbert")
    model = open_base(str(tmp_path), "cross-encoder").model
    with pytest.raises(ConfigurationError, match="ModernBertForSequenceClassification takes no"):
        with_adapter(model, PREFIX, "cross-encoder")


def test_qlora_needs_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write(tmp_path, "bert")
    model = open_base(str(tmp_path), "cross-encoder").model
    with pytest.raises(ConfigurationError, match="needs a GPU and bitsandbytes"):
        with_adapter(model, FineTuneConfig(method="qlora"), "cross-encoder")


def test_qlora_is_merged_into_what_its_4_bits_stand_for(tmp_path, monkeypatch):
    """bitsandbytes has 4-bit layers on the CPU, too: slow, but as those of a GPU."""
    pytest.importorskip("bitsandbytes", reason="comes with no extra: pip install bitsandbytes")
    write(tmp_path, "qwen3")
    opened = open_base(str(tmp_path), "cross-encoder")
    before = values(opened, opened.model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")
    config = FineTuneConfig(method="qlora", lora_rank=4, lora_dropout=0.0)
    model = with_adapter(opened.model, config, "cross-encoder")
    monkeypatch.undo()
    layers = [m for m in model.modules() if type(m).__module__.startswith("bitsandbytes")]
    assert len(layers) == 2 * 7
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.normal_(std=0.05)
    model.eval()
    expected = values(opened, model)
    assert (expected - before).abs().max() > 1e-2
    plain = merged(model)
    assert {weight.dtype for weight in plain.parameters()} == {torch.float32}
    assert not hasattr(plain.config, "quantization_config")
    torch.testing.assert_close(values(opened, plain), expected, atol=2e-2, rtol=0)

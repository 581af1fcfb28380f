"""A whole run on toy lists: each loss learns, the best weights stay, nothing is said elsewhere."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from sidecar.errors import ConfigurationError, InputFileError, ModelError
from training.config import PAIR_LOSSES, VECTOR_LOSSES, FineTuneConfig
from training.fine_tuning.arguments import highest_rate
from training.fine_tuning.fit import fit
from training.fine_tuning.measuring import DevMeasure
from training.fine_tuning.passes import Represent
from training.lists import ListCandidate, Split, TrainingList

from .toy_lists import (
    bi_encoder,
    cross_encoder,
    fitted,
    quiet,
    settings,
    settings_by_topic,
    toy_lists,
)


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_every_loss_teaches_a_cross_encoder(loss, tmp_path):
    history = fitted(cross_encoder(), settings(loss=loss), tmp_path).history
    assert history["base"] < 0.85
    assert history["measure"] > 0.95
    assert history["measure"] == dict(history["looks"])[history["best_step"]]


@pytest.mark.parametrize("loss", VECTOR_LOSSES)
@pytest.mark.parametrize("widths", [(), (8,)])
def test_every_loss_teaches_a_bi_encoder(loss, widths, tmp_path):
    config = settings_by_topic(loss=loss, widths=widths)
    history = fitted(bi_encoder(), config, tmp_path, by="topic").history
    assert history["base"] < 0.75
    assert history["measure"] > 0.95


def test_a_bi_encoder_by_dot_products(tmp_path):
    config = settings_by_topic()
    history = fitted(bi_encoder(normalize=False), config, tmp_path, by="topic").history
    assert history["measure"] > 0.95 > history["base"]


@pytest.mark.parametrize(
    ("changed", "kind", "millions", "rate"),
    [
        ({}, "bi-encoder", 22, 1e-4),
        ({}, "cross-encoder", 22, 5e-5),
        ({}, "cross-encoder", 568, 2e-5),
        ({"method": "lora"}, "cross-encoder", 22, 2e-4),
        ({"learning_rate": 3e-6}, "bi-encoder", 22, 3e-6),
    ],
)
def test_the_learning_rate_goes_by_the_size_where_none_is_given(changed, kind, millions, rate):
    assert highest_rate(FineTuneConfig(**changed), kind, millions * 1_000_000) == rate


@pytest.mark.parametrize("by", ["worth", "topic"])
def test_lora_learns_too(by, tmp_path):
    opened = cross_encoder() if by == "worth" else bi_encoder()
    usual = settings if by == "worth" else settings_by_topic
    config = usual(method="lora", lora_dropout=0.0, dropout=0.0, learning_rate=3e-3, epochs=6.0)
    history = fitted(opened, config, tmp_path, by).history
    assert history["measure"] > 0.95


def test_the_measure_is_that_of_the_model_that_is_given_back(tmp_path):
    opened = cross_encoder()
    made = fitted(opened, settings(base_shares=(0.0, 0.5, 1.0)), tmp_path)
    assert made.model is opened.model
    assert not made.model.training
    assert "_original_forward" not in vars(made.model)
    again = fitted(replace(opened), settings(max_steps=1), tmp_path / "other")
    assert again.history["base"] == pytest.approx(made.history["measure"], abs=1e-9)


def test_training_ends_when_patience_does(tmp_path):
    """At a rate of 0 no look is better than the first."""
    config = settings(learning_rate=0.0, evaluations=8, patience=2)
    history = fitted(cross_encoder(), config, tmp_path).history
    assert len(history["looks"]) == 3
    assert history["best_step"] == history["looks"][0][0]


def test_no_patience_means_all_steps(tmp_path):
    config = settings(learning_rate=0.0, evaluations=8, patience=0)
    history = fitted(cross_encoder(), config, tmp_path).history
    assert history["steps"] == 24
    assert len(history["looks"]) == 8


def test_the_best_checkpoint_stays_and_not_the_last(tmp_path):
    """A rate that ruins the model: the first look is the best."""
    config = settings(learning_rate=0.5, evaluations=4, patience=0, schedule="constant")
    made = fitted(cross_encoder(), config, tmp_path)
    values = [value for _, value in made.history["looks"]]
    assert made.history["measure"] == max(values)
    lists, passages = toy_lists(24, split=Split.DEV)
    again = fit(
        replace(cross_encoder(), model=made.model),
        lists,
        lists,
        passages,
        settings(max_steps=1),
        0,
        tmp_path / "other",
        quiet(),
    )
    assert again.history["base"] == pytest.approx(max(values), abs=1e-9)


def test_shares_of_the_base_are_tried_and_the_best_stays(tmp_path):
    config = settings(base_shares=(0.0, 0.5, 1.0), learning_rate=0.5, schedule="constant")
    history = fitted(cross_encoder(), config, tmp_path).history
    tried = dict(history["shares"])
    assert list(tried) == [0.0, 0.5, 1.0]
    assert tried[1.0] == pytest.approx(history["base"], abs=1e-9)
    assert history["measure"] == tried[history["share"]] > tried[0.0]


def test_an_adapter_with_all_of_the_base_is_the_base(tmp_path):
    config = settings(method="lora", learning_rate=1e-2, base_shares=(0.0, 1.0))
    history = fitted(cross_encoder(), config, tmp_path).history
    assert dict(history["shares"])[1.0] == pytest.approx(history["base"], abs=1e-9)


def test_without_dev_lists_the_last_weights_stay(tmp_path):
    history = fitted(cross_encoder(), settings(), tmp_path, dev=0).history
    assert (history["base"], history["measure"], history["looks"]) == (None, None, [])
    assert history["best_step"] == history["steps"] == 24


def test_the_seed_decides(tmp_path):
    weights = [
        fitted(cross_encoder(), settings(epochs=1.0), tmp_path / name, seed=seed)
        .model.classifier.weight.detach()
        .clone()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_weight_of_nothing_is_as_good_as_absent(tmp_path):
    """Whatever the candidate's gain."""
    lists, passages = toy_lists(16)
    odd = [ListCandidate("odd", gain, int(2 * gain), weight=0.0) for gain in (1.0, 0.0)]
    passages["odd"] = "tide " * 30
    more = [
        replace(one, candidates=(odd[number % 2], *one.candidates))
        for number, one in enumerate(lists)
    ]
    for loss, opened in (("listwise_softmax", cross_encoder), ("info_nce", bi_encoder)):
        made = [
            fit(
                opened(),
                given,
                [],
                passages,
                settings(loss=loss, epochs=1.0),
                0,
                tmp_path / f"{loss}{number}",
                quiet(),
            ).model.state_dict()
            for number, given in enumerate((lists, more))
        ]
        assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_lists_that_say_nothing_are_left_out(tmp_path):
    lists, passages = toy_lists(16)
    nothing = TrainingList("n", "ebb", Split.TRAIN, (ListCandidate("train0.0", 0.0, 0),))
    history = fit(
        cross_encoder(), [*lists, nothing], [], passages, settings(), 0, tmp_path, quiet()
    ).history
    assert history["lists"] == 16


def test_nothing_to_learn_from_is_refused(tmp_path):
    lists, passages = toy_lists(4)
    untaught = [
        replace(one, candidates=tuple(replace(each, teacher=None) for each in one.candidates))
        for one in lists
    ]
    config = settings(loss="margin_mse")
    with pytest.raises(ConfigurationError, match="margin_mse"):
        fit(cross_encoder(), untaught, [], passages, config, 0, tmp_path, quiet())


def test_a_missing_passage_is_named(tmp_path):
    lists, _ = toy_lists(4)
    with pytest.raises(InputFileError, match="train0"):
        fit(cross_encoder(), lists, [], {}, settings(), 0, tmp_path, quiet())


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    opened = cross_encoder()
    with torch.no_grad():
        opened.model.classifier.bias.fill_(math.nan)
    with pytest.raises(ModelError, match="step 1 is nan"):
        fitted(opened, settings(), tmp_path, dev=0)


def test_fp16_is_refused_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="fp16 needs a GPU"):
        fitted(cross_encoder(), settings(precision="fp16"), tmp_path)


def test_bfloat16_learns(tmp_path):
    made = fitted(cross_encoder(), settings(precision="bf16"), tmp_path)
    assert made.history["measure"] > 0.95
    assert {weight.dtype for weight in made.model.parameters()} == {torch.float32}


def test_with_gradient_checkpointing(tmp_path):
    history = fitted(cross_encoder(), settings(checkpointing=True), tmp_path).history
    assert history["measure"] > 0.95


def test_what_happens_is_in_the_events(tmp_path):
    events = tmp_path / "events.jsonl"
    fitted(cross_encoder(), settings(), tmp_path / "run", report=quiet(events))
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [each["step"] for each in told if each["event"] == "dev"] == [0, 6, 12, 18, 24]
    step = next(each for each in told if each["event"] == "step")
    assert step.keys() >= {"step", "loss", "dev nDCG@10", "lr", "tokens/s", "peak MB", "left"}


def test_a_model_that_scores_all_alike_is_not_flattered():
    """Ties are not broken by the order in which candidates are listed."""
    lists = [
        TrainingList(
            str(number),
            "ebb",
            Split.DEV,
            (ListCandidate("a", 1.0, 2), ListCandidate("b", 0.0, 0)),
        )
        for number in range(4)
    ]

    class Same:
        means = None

        def chunks(self, side):
            return [list(range(len(side)))]

        def represent(self, model, side):
            return torch.zeros(len(side))

    class Collator:
        def __call__(self, lists):
            return type("Batch", (), {"sides": ([None] * 8,)})

    model = torch.nn.Linear(1, 1)
    assert DevMeasure(lists, Collator(), Same())(model) < 0.7


def test_a_model_is_set_back_after_training(tmp_path):
    opened = cross_encoder()
    before = opened.model.config._attn_implementation
    embeddings = opened.model.get_input_embeddings().weight.detach().clone()
    config = settings(dropout=0.0, train_embeddings=False, epochs=1.0)
    model = fitted(opened, config, tmp_path).model
    probabilities = {each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)}
    assert probabilities == {0.1}
    assert model.config._attn_implementation == before
    assert torch.equal(model.get_input_embeddings().weight, embeddings)
    assert all(weight.requires_grad for weight in model.parameters())


def test_without_dropout_nothing_is_drawn(tmp_path):
    """Then two seeds differ by the order of lists alone, and one list a run has none."""
    lists, passages = toy_lists(1)
    made = [
        fit(
            cross_encoder(), lists, [], passages, settings(dropout=dropout), seed, folder, quiet()
        ).history["losses"]
        for seed, dropout, folder in (
            (0, 0.0, tmp_path / "a"),
            (1, 0.0, tmp_path / "b"),
            (0, -1.0, tmp_path / "c"),
            (1, -1.0, tmp_path / "d"),
        )
    ]
    first = [losses[0][1] for losses in made]
    assert first[0] == pytest.approx(first[1], abs=1e-6)
    assert first[2] != pytest.approx(first[3], abs=1e-6)


def test_a_run_goes_on_when_memory_fails(tmp_path, monkeypatch):
    """To the weights that it would have had."""
    config = settings(gradient_cache="auto", epochs=1.0, dropout=0.0, learning_rate=1e-3)
    events, read = tmp_path / "events.jsonl", Represent.__call__
    whole = fitted(cross_encoder(), config, tmp_path / "whole", dev=0)

    def starved(self, model, texts):
        if torch.is_grad_enabled() and len(texts) * max(len(text.ids) for text in texts) > 100:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return read(self, model, texts)

    monkeypatch.setattr(Represent, "__call__", starved)
    made = fitted(cross_encoder(), config, tmp_path / "less", dev=0, report=quiet(events))
    assert len(made.history["changes"]) == 5  # the cache, then from 1024 down to 64 tokens
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [each["change"] for each in told if each["event"] == "memory"] == made.history["changes"]
    losses = ([loss for _, loss in each.history["losses"]] for each in (made, whole))
    assert next(losses) == pytest.approx(next(losses), rel=1e-3)

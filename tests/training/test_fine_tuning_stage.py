"""The stage train: folders in, folders out, in one process or in several."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from transformers import AutoModelForSequenceClassification

from sidecar.errors import ConfigurationError
from training.config import BI_ENCODER, MODELS, RERANKER, CollectConfig, TrainingConfig
from training.fine_tuning.adapters import load_adapter, merged
from training.fine_tuning.opening import open_base
from training.fine_tuning.scoring import encode_queries, score_pairs
from training.lists import Split, write_lists, write_passages
from training.models.bases import kind_of
from training.models.spec import write_spec
from training.run import plan
from training.run_files import LISTS_FILE, PASSAGES_FILE
from training.stage import Work
from training.stages.train import run

from .toy_lists import bi_encoder, cross_encoder, quiet, settings, settings_by_topic, toy_lists


def write_base(folder, opened):
    opened.model.save_pretrained(folder)
    opened.tokenizer.save_pretrained(folder)
    write_spec(opened.spec, folder)
    return folder


def write_mined(folder, by):
    folder.mkdir(parents=True)
    lists, passages = toy_lists(48 if by == "worth" else 96, by)
    dev_lists, dev_passages = toy_lists(24, by, Split.DEV)
    write_lists([*lists, *dev_lists], folder / LISTS_FILE)
    write_passages({**passages, **dev_passages}, folder / PASSAGES_FILE)


def work_of(root, model, **changed):
    """A run whose base is written and whose lists are mined."""
    pairs = model == RERANKER
    opened = (cross_encoder if pairs else bi_encoder)(dropout=0.0)
    base = write_base(root / "base", opened)
    write_mined(root / model / "mine", "worth" if pairs else "topic")
    role = TrainingConfig().fine_tune(model).role
    made = settings if pairs else settings_by_topic
    section = made(**{"base": str(base), "role": role} | changed)
    out = root / model / "train"
    out.mkdir()
    inputs = {f"{model}/mine": root / model / "mine"}
    config = replace(TrainingConfig(), **{model: section})
    return Work(config, model, out, inputs, quiet(root / "events.jsonl"))


def weights(folder, model):
    return open_base(str(folder), kind_of(model)).model.state_dict()


@pytest.mark.parametrize("model", MODELS)
def test_a_trained_model_is_opened_as_a_base(model, tmp_path):
    work = work_of(tmp_path, model)
    figures = run(work)
    assert figures["dev_after"] > 0.95 > figures["dev_before"]
    assert figures["base"] == "toy"
    opened = open_base(str(work.out / "model"), kind_of(model))
    assert opened.spec.base == "toy"
    before = open_base(str(tmp_path / "base"), kind_of(model))
    if model == BI_ENCODER:
        made, old = (encode_queries(each, ["ebb flood"]) for each in (opened, before))
        assert made.shape == (1, 32)
    else:
        made, old = (score_pairs(each, [("ebb", "fine tide")]) for each in (opened, before))
    assert abs(made - old).max() > 1e-2
    history = json.loads((work.out / "history.json").read_text())
    assert history["measure"] == figures["dev_after"]


def test_a_model_folder_is_as_transformers_saves_it(tmp_path):
    work = work_of(tmp_path, RERANKER, max_steps=2)
    run(work)
    _, told = AutoModelForSequenceClassification.from_pretrained(
        work.out / "model", output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not (work.out / "adapter").exists()


def test_an_adapter_is_kept_beside_the_whole_model(tmp_path):
    work = work_of(tmp_path, RERANKER, method="lora", learning_rate=1e-2, base_shares=(0.0, 0.5))
    run(work)
    pairs = [("ebb flood", "the fine tide"), ("dry", "great sand of the dune")]
    whole = open_base(str(work.out / "model"), kind_of(RERANKER))
    base = open_base(str(tmp_path / "base"), kind_of(RERANKER))
    beside = replace(base, model=merged(load_adapter(base.model, work.out / "adapter")))
    assert score_pairs(beside, pairs) == pytest.approx(score_pairs(whole, pairs), abs=1e-5)


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        (RERANKER, {"chunk_tokens": 100, "accumulation": 2, "lists_per_step": 2}),
        (BI_ENCODER, {"widths": (8,), "lists_per_step": 4}),
    ],
)
def test_two_processes_train_as_one_with_the_doubled_batch(model, changed, tmp_path):
    """In-batch negatives of both, and the mean over all lists, however unevenly they are spread."""
    each = {"lists_per_step": 4, "epochs": 1.0, "base_shares": (0.0,)} | changed
    single = work_of(
        tmp_path / "one", model, **each | {"lists_per_step": 2 * each["lists_per_step"]}
    )
    double = work_of(tmp_path / "two", model, **each, processes=2)
    figures = run(single), run(double)
    assert figures[1]["steps"] == figures[0]["steps"]
    assert figures[1]["dev_after"] == pytest.approx(figures[0]["dev_after"], abs=1e-6)
    losses = [
        [loss for _, loss in json.loads((work.out / "history.json").read_text())["losses"]]
        for work in (single, double)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    made = [weights(work.out / "model", model) for work in (single, double)]
    before = weights(tmp_path / "one" / "base", model)
    # No loss over a list depends on these: Adam makes steps of what rounding leaves there.
    names = [name for name in before if not name.endswith(("key.bias", "classifier.bias"))]
    moved = max(float((made[0][name] - before[name]).abs().max()) for name in names)
    apart = max(float((made[0][name] - made[1][name]).abs().max()) for name in names)
    assert moved > 1e-3
    assert apart < 1e-3 * moved
    told = (tmp_path / "two" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in told]
    looks = [each["step"] for each in events if each["event"] == "dev"]
    assert looks == sorted(set(looks)), "one process tells"


def test_what_a_process_was_refused_is_told(tmp_path):
    work = work_of(tmp_path, RERANKER, processes=2)
    (tmp_path / RERANKER / "mine" / PASSAGES_FILE).write_text("")
    with pytest.raises(ConfigurationError, match=r"passages\.jsonl.* has no passage"):
        run(work)


def test_a_teachers_lists_are_read_where_there_is_one(tmp_path):
    work = work_of(tmp_path, RERANKER, teacher="pair-minilm-l6", loss="distillation")
    taught = tmp_path / RERANKER / "teach"
    taught.mkdir()
    lists, _ = toy_lists(16)
    write_lists(lists, taught / LISTS_FILE)
    figures = run(replace(work, inputs={**work.inputs, f"{RERANKER}/teach": Path(taught)}))
    assert figures["lists"] == 16


def test_a_base_folder_is_read_by_the_steps_that_begin_with_it(tmp_path):
    """So that other weights under the same name are noticed."""
    work = work_of(tmp_path, RERANKER)
    config = replace(work.config, collect=CollectConfig(judgments=("judged.jsonl",)))
    reading = {step.place for step in plan(config) if tmp_path / "base" in step.reads}
    assert reading == {"reranker/mine", "reranker/train", "reranker/evaluate"}

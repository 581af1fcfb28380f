"""What training frameworks get wrong, with its source, and that it is right here.

Elsewhere in these tests: listwise losses whose chunks save memory (test_gradient_cache), lists of
unlike length (test_losses), gradient caching with checkpointing (test_fine_tuning_fit), resuming
the trained model (test_fine_tuning_resume), negatives by document id (test_mining_lists).
"""

from __future__ import annotations

import ast
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from sidecar.errors import ModelError
from training.config import PAIR_LOSSES, FineTuneConfig
from training.exporting import export as exporting
from training.exporting.dev_pairs import DevPairs
from training.fine_tuning.adapters import load_adapter
from training.fine_tuning.fit import fit
from training.fine_tuning.job import write_trained
from training.fine_tuning.objectives import pair_objective, vector_objective
from training.fine_tuning.opening import Opened, open_base
from training.fine_tuning.prompt import PASSAGE, QUERY, filled
from training.fine_tuning.scoring import score_pairs
from training.lists import ListCandidate, Split, TrainingList
from training.losses.listwise_softmax import listwise_softmax
from training.models.spec import write_spec
from training.serving.client import SidecarClient
from training.serving.private import private_sidecar

from .dev_task import dev_pairs, task_of
from .test_fine_tuning_passes import greatest_difference, step
from .tiny_models import PAIRS, write_encoder, write_qwen3
from .toy_lists import bi_encoder, cross_encoder, quiet, settings


def one_list(*grades):
    """Candidates d0, d1 ... of these grades."""
    made = (ListCandidate(f"d{n}", grade / 4, grade) for n, grade in enumerate(grades))
    return TrainingList("q", "tide", Split.DEV, tuple(made))


# -- sentence-transformers


def test_a_lora_adapter_has_the_head_it_was_trained_with(tmp_path):
    """huggingface/sentence-transformers#3916, PR 3936: a CrossEncoder's new head stays as it was
    drawn under LoRA, is left out of the saved adapter, and drawn anew when it is loaded."""
    write_encoder(tmp_path / "base", "bert", "bi-encoder")

    def base():
        return open_base(str(tmp_path / "base"), "cross-encoder", new_head=True)

    opened = base()
    drawn = opened.model.classifier.weight.detach().clone()
    passages = {f"d{n}": passage for n, (_, passage) in enumerate(PAIRS)}
    lists = [dataclasses.replace(one_list(0, 1, 4, 0, 2), split=Split.TRAIN)]
    config = settings(method="lora", lora_rank=4, learning_rate=1e-2, epochs=8.0)
    fitted = fit(opened, lists, [], passages, config, 0, tmp_path / "scratch", quiet())
    expected = score_pairs(dataclasses.replace(opened, model=fitted.model), PAIRS)
    write_trained(fitted, opened, tmp_path)
    merged = open_base(str(tmp_path / "model"), "cross-encoder")
    assert (merged.model.classifier.weight - drawn).abs().max() > 1e-3
    assert score_pairs(merged, PAIRS) == pytest.approx(expected, abs=1e-5)
    fresh = base()
    again = load_adapter(fresh.model, tmp_path / "adapter")
    loaded = score_pairs(Opened(again, fresh.tokenizer, fresh.spec), PAIRS)
    assert loaded == pytest.approx(expected, abs=1e-5)


def test_logits_above_five_keep_their_order_through_the_server(tmp_path):
    """sentence-transformers lays a sigmoid over a CrossEncoder's logits: in float32 those above 17
    are all 1, in half precision those above 8 (skills/.../troubleshooting.md: nDCG .59 -> .14)."""
    write_encoder(tmp_path / "base", "bert", "cross-encoder")
    opened = open_base(str(tmp_path / "base"), "cross-encoder", 10, 40)
    with torch.no_grad():
        opened.model.classifier.weight.mul_(0.2)
        opened.model.classifier.bias.fill_(20.0)
    dev = dev_pairs(lists=30)
    expected = score_pairs(opened, dev.pairs)
    assert expected.min() > 17
    folder = tmp_path / "out"
    (tmp_path / "export").mkdir()
    folder.mkdir()
    exporting.export(task_of(opened, dev), folder, tmp_path / "export", lambda _: None)
    expected = score_pairs(opened, dev.pairs)  # on the weights that were stored
    models = {"second_reranker": folder / "onnx"}
    with (
        private_sidecar(tmp_path / "data", models, tmp_path / "log") as address,
        SidecarClient(address) as client,
    ):
        for one, scores in list(dev.by_list(expected))[:5]:
            passages = {each.doc_id: dev.passages[each.doc_id] for each in one.candidates}
            found = client.rerank(one.query, passages)
            assert [found[key] for key in passages] == pytest.approx(scores.tolist(), abs=2e-2)
            assert list(found) == [list(passages)[place] for place in np.argsort(-scores)]


def test_a_dev_measure_is_graded():
    """sentence-transformers' reranking and retrieval evaluators know relevant and not (#3464,
    #1349), by the text and not by the document."""
    dev = DevPairs([one_list(0, 1, 4)], {f"d{n}": "same text" for n in range(3)})
    best, middle, worst = (
        dev.measured(np.array(scores)) for scores in ([0.0, 1, 2], [0, 2, 1], [2, 1, 0])
    )
    gain = {grade: float(grade) for grade in range(5)}
    ideal = gain[4] / math.log2(2) + gain[1] / math.log2(3)
    assert best == pytest.approx(1.0)
    assert middle == pytest.approx((gain[1] / math.log2(2) + gain[4] / math.log2(3)) / ideal)
    assert worst == pytest.approx((gain[1] / math.log2(3) + gain[4] / math.log2(4)) / ideal)


def test_equal_scores_are_no_ranking():
    """A stable sort leaves a model that scores all alike with the order of the candidates, which is
    often the best one first (FlagEmbedding#240, #276: rerankers that collapsed unnoticed)."""
    first, last = (
        DevPairs([one_list(*grades)], {}).measured(np.zeros(4))
        for grades in ((4, 0, 0, 0), (0, 0, 0, 4))
    )
    assert first == pytest.approx(1 / math.log2(5))  # the later id stands first
    assert last == 1.0


# -- ms-swift


def test_several_positives_are_one_list():
    """ms-swift splits a list at each positive (plugins/loss: groups end where a 1 begins), so two
    positives make two lists, the second with no negatives of the first."""
    scores = torch.tensor([0.2, 0.1, 0.4, -0.3], requires_grad=True)
    gains = torch.tensor([1.0, 0.0, 1.0, 0.0])
    groups = torch.zeros(4, dtype=torch.long)
    loss = listwise_softmax(scores, groups, gains)
    shares = scores.detach().double().log_softmax(0)
    assert float(loss.detach()) == pytest.approx(float(-(shares[0] + shares[2]) / 2), abs=1e-6)
    loss.backward()
    assert (scores.grad[[0, 2]] < 0).all()
    assert (scores.grad[[1, 3]] > 0).all()
    both_first, one_last = (
        DevPairs([one_list(4, 0, 4, 0)], {}).measured(np.array(scores))
        for scores in ([3.0, 1, 2, 0], [3.0, 2, 0, 1])
    )
    assert both_first == 1.0
    ideal = 1 + 1 / math.log2(3)
    assert one_last == pytest.approx((1 + 1 / math.log2(5)) / ideal)


def test_no_hyper_parameter_is_in_the_environment():
    """ms-swift reads LISTWISE_RERANKER_TEMPERATURE, INFONCE_* and others from the environment, so
    a run does not say how it was made."""
    known = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "XDG_CACHE_HOME", "OMP_WAIT_POLICY"}
    asked = set()
    for path in (Path(__file__).parents[2] / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func):
                asked |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                asked.add(ast.unparse(node.slice))
    assert "WORLD_SIZE" in asked
    assert asked <= known, "give it a key in training/config.py"


# -- FlagEmbedding, Tevatron, LlamaIndex


@pytest.mark.parametrize("loss", ["listwise_softmax", "distillation"])
@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_the_temperature_counts_with_and_without_cached_gradients(kind, loss):
    """Tevatron's cached path leaves --temperature out (gc_trainer.py:13-21, encoder.py:75)."""
    opened = (cross_encoder if kind == "cross-encoder" else bi_encoder)(dropout=0.0)
    config = settings(loss=loss, chunk_tokens=64)
    plain, cached = (
        {
            warmth: step(opened, dataclasses.replace(config, temperature=warmth, gradient_cache=on))
            for warmth in (0.5, 2.0)
        }
        for on in ("off", "on")
    )
    for warmth, (value, gradients) in plain.items():
        assert cached[warmth][0] == pytest.approx(value, abs=1e-5)
        assert greatest_difference(cached[warmth][1], gradients) < 1e-5
    assert greatest_difference(plain[0.5][1], plain[2.0][1]) > 1e-2


def test_every_loss_and_its_settings_are_used():
    """LlamaIndex's CrossEncoderFinetuneEngine keeps `loss` and never uses it."""
    config = FineTuneConfig()
    made = [pair_objective(dataclasses.replace(config, loss=loss)).loss for loss in PAIR_LOSSES]
    assert len(set(map(id, made))) == len(PAIR_LOSSES)
    assert vector_objective(dataclasses.replace(config, loss="info_nce"), True).gathers


def test_weights_are_trained_in_float32_whatever_they_are_stored_in(tmp_path):
    """Tevatron loads weights in bfloat16 before AdamW, whose steps are then rounded away."""
    write_encoder(tmp_path / "base", "bert", "cross-encoder")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    model.bfloat16().save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "tokenizer.json").write_bytes(
        (tmp_path / "base" / "tokenizer.json").read_bytes()
    )
    opened = open_base(str(tmp_path / "half"), "cross-encoder")
    assert {weight.dtype for weight in opened.model.parameters()} == {torch.float32}


def test_a_classifier_that_calls_itself_a_language_model_is_refused(tmp_path):
    """Tevatron, docs/bugs-and-fixes.md: a sequence classifier opened as a causal language model
    raises nothing where embeddings are tied; SciFact fell from .79 to .29."""
    write_qwen3(tmp_path, "classifier", tie_word_embeddings=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["Qwen3ForCausalLM"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "README.md").write_text("---\npipeline_tag: text-ranking\n---\n")
    AutoModelForCausalLM.from_pretrained(tmp_path)  # transformers says nothing
    with pytest.raises(ModelError, match=r"no place for \(score\.weight\)"):
        open_base(str(tmp_path), "cross-encoder")


# -- Qwen3-Reranker


def test_a_reranker_keeps_the_prompt_that_it_was_trained_with(tmp_path):
    """Qwen3-Reranker was published with two prompts, "\\n" between its fields for transformers and
    "\\n\\n" for vLLM; without the right one scores are near random (vLLM#21681)."""
    write_qwen3(tmp_path / "base")
    opened = open_base(str(tmp_path / "base"), "cross-encoder")
    other = opened.spec.template.replace(f"\n<Query>: {QUERY}", f"\n\n<Query>: {QUERY}")
    spec = dataclasses.replace(opened.spec, template=other)
    assert spec.template_digest != opened.spec.template_digest
    differing = dataclasses.replace(opened, spec=spec)
    assert np.abs(score_pairs(differing, PAIRS) - score_pairs(opened, PAIRS)).max() > 1e-3
    opened.model.save_pretrained(tmp_path / "made")
    opened.tokenizer.save_pretrained(tmp_path / "made")
    write_spec(spec, tmp_path / "made")
    again = open_base(str(tmp_path / "made"), "cross-encoder")
    assert again.spec.template_digest == spec.template_digest
    assert score_pairs(again, PAIRS) == pytest.approx(score_pairs(differing, PAIRS), abs=1e-5)


def test_texts_with_braces_do_not_fill_the_prompt():
    """A text may hold what looks like a field; str.format would fill, or fail on, that."""
    prompt = f"a {QUERY} b {PASSAGE} c"
    assert filled(prompt, "{passage}", "{0} {query}") == "a {passage} b {0} {query} c"


def test_a_prompt_that_leaves_out_a_text_is_refused(tmp_path):
    write_qwen3(tmp_path / "base")
    opened = open_base(str(tmp_path / "base"), "cross-encoder")
    opened.model.save_pretrained(tmp_path / "made")
    opened.tokenizer.save_pretrained(tmp_path / "made")
    write_spec(dataclasses.replace(opened.spec, template="<Query>: {query}"), tmp_path / "made")
    with pytest.raises(ModelError, match="each once"):
        open_base(str(tmp_path / "made"), "cross-encoder")

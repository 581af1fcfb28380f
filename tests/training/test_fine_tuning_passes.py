"""One step: the gradients do not depend on how it is computed, the memory does."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from sidecar.errors import ModelError
from training.config import GRADED_LOSSES, PAIR_LOSSES, TAUGHT_LOSSES, VECTOR_LOSSES
from training.fine_tuning.collator import Lists, NumberedPassages, PairCollator, TextCollator
from training.fine_tuning.memory import available_bytes
from training.fine_tuning.objectives import (
    IN_BATCH,
    LOSSES,
    pair_objective,
    vector_objective,
)
from training.fine_tuning.passes import Passes, Represent, Sending
from training.fine_tuning.reading import PairReader, TextReader
from training.fine_tuning.scoring import batches_of
from training.fine_tuning.signals import TWO_TAUGHT

from .toy_lists import bi_encoder, cross_encoder, settings, toy_lists

CPU = torch.device("cpu")


def batch_of(opened, lists, passages):
    known = NumberedPassages.of(lists, passages)
    if opened.spec.kind == "cross-encoder":
        return PairCollator(PairReader(opened.tokenizer, opened.spec), known)(lists)
    return TextCollator(TextReader(opened.tokenizer, opened.spec), known)(lists)


def passes_of(opened, config, told=None):
    pairs = opened.spec.kind == "cross-encoder"
    objective = pair_objective(config) if pairs else vector_objective(config, cosine=True)
    represent = Represent(opened.tokenizer, opened.spec, "fp32", CPU)
    return Passes(represent, objective, config, (told if told is not None else []).append)


def toy_batch(opened, count=12):
    return batch_of(opened, *toy_lists(count))


def gradients(model):
    found = {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    model.zero_grad()
    return found


def greatest_difference(one, other):
    """Relative to the greatest gradient, where that is above 1."""
    assert one.keys() == other.keys()
    greatest = max(1.0, *(float(each.abs().max()) for each in other.values()))
    return max(float((one[name] - other[name]).abs().max()) for name in one) / greatest


def step(opened, config, batch=None, factor=1.0, told=None):
    passes = passes_of(opened, config, told)
    loss = passes.step(opened.model, batch or toy_batch(opened), factor, Sending())
    return float(loss), gradients(opened.model)


KINDS = [("cross-encoder", loss, ()) for loss in PAIR_LOSSES]
KINDS += [("bi-encoder", loss, widths) for loss in VECTOR_LOSSES for widths in ((), (8, 16))]


@pytest.mark.parametrize(("kind", "loss", "widths"), KINDS)
@pytest.mark.parametrize(("cache", "chunk_tokens"), [("off", 64), ("on", 64), ("on", 200)])
def test_gradients_do_not_depend_on_the_chunks(kind, loss, widths, cache, chunk_tokens):
    opened = (cross_encoder if kind == "cross-encoder" else bi_encoder)(dropout=0.0)
    config = settings(loss=loss, widths=widths, chunk_tokens=100_000)
    value, expected = step(opened, config)
    other, found = step(opened, replace(config, gradient_cache=cache, chunk_tokens=chunk_tokens))
    assert other == pytest.approx(value, abs=1e-5)
    assert max(float(each.abs().max()) for each in expected.values()) > 1e-3
    assert greatest_difference(found, expected) < 1e-5


def test_texts_of_like_length_are_read_together():
    opened = cross_encoder()
    batch = toy_batch(opened)
    chunks = passes_of(opened, settings(chunk_tokens=100)).chunks(batch.sides[0])
    lengths = [[len(batch.sides[0][place].ids) for place in chunk] for chunk in chunks]
    assert sorted(place for chunk in chunks for place in chunk) == list(range(len(batch.sides[0])))
    assert all(max(each) * len(each) <= 100 for each in lengths)
    assert [max(each) for each in lengths] == sorted((max(each) for each in lengths), reverse=True)


def test_a_document_of_several_lists_is_read_once():
    opened = bi_encoder(dropout=0.0)
    lists, passages = toy_lists(2, by="topic")
    shared = replace(lists[1], candidates=(*lists[1].candidates, lists[0].candidates[0]))
    batch = batch_of(opened, [lists[0], shared], passages)
    documents = {each.doc_id for one in (lists[0], shared) for each in one.candidates}
    assert len(batch.sides[1]) == len(documents) == len(batch.targets.places) - 1


class Starved:
    """Fails where more tokens are read at once than there is memory for, as the CPU's allocator
    does."""

    def __init__(self, represent, most, grad_only=False):
        self.represent, self.most, self.grad_only = represent, most, grad_only
        self.calls = 0

    def __call__(self, model, texts):
        made = self.represent(model, texts)
        tokens = len(texts) * max(len(text.ids) for text in texts)
        if tokens > self.most and (torch.is_grad_enabled() or not self.grad_only):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return made


@pytest.mark.parametrize("opener", [cross_encoder, bi_encoder])
def test_when_memory_fails_the_step_is_taken_with_less(opener):
    opened, told = opener(dropout=0.0), []
    loss = "listwise_softmax" if opener is cross_encoder else "info_nce"
    config = settings(loss=loss, gradient_cache="auto", chunk_tokens=1000)
    _, expected = step(opened, config)
    passes = passes_of(opened, config, told)
    passes.represent = Starved(passes.represent, most=300)
    passes.step(opened.model, toy_batch(opened), 1.0, Sending())
    assert greatest_difference(gradients(opened.model), expected) < 1e-5
    assert passes.means.cached
    assert passes.means.chunk_tokens == 250
    assert len(told) == 3
    assert "can't allocate memory" in told[0]


def test_a_failure_half_way_spoils_no_gradient():
    """Backward passes of earlier chunks have been made, and those of an earlier step."""
    opened = cross_encoder(dropout=0.0)
    config = settings(gradient_cache="auto", chunk_tokens=150)
    _, once = step(opened, config)
    passes, batch = passes_of(opened, config), toy_batch(opened)
    passes.means.cached = True
    passes.step(opened.model, batch, 1.0, Sending())

    class Fails:
        def __init__(self, represent):
            self.represent, self.left = represent, 3

        def __call__(self, model, texts):
            if torch.is_grad_enabled():
                self.left -= 1
                if self.left == 0:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return self.represent(model, texts)

    passes.represent = Fails(passes.represent)
    passes.step(opened.model, batch, 2.0, Sending())
    assert passes.means.chunk_tokens == 75
    thrice = {name: 3 * each for name, each in once.items()}
    assert greatest_difference(gradients(opened.model), thrice) < 1e-5


def test_without_memory_for_one_text_the_run_ends():
    opened = cross_encoder()
    passes = passes_of(opened, settings(gradient_cache="auto"))
    passes.represent = Starved(passes.represent, most=3)
    with pytest.raises(ModelError, match=r"one text of \d+ tokens"):
        passes.step(opened.model, toy_batch(opened), 1.0, Sending())


def test_another_error_is_not_taken_for_one_of_memory():
    opened = cross_encoder()
    passes = passes_of(opened, settings(gradient_cache="auto"))

    def broken(model, texts):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    passes.represent = broken
    with pytest.raises(RuntimeError, match="shapes"):
        passes.step(opened.model, toy_batch(opened), 1.0, Sending())


class Kept:
    """The most numbers that autograd kept at once."""

    def __init__(self, model):
        self.now = self.peak = 0
        self._weights = {weight.data_ptr() for weight in model.parameters()}

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda held: held.tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception):
        self._hooks.__exit__(*exception)

    def _keep(self, tensor):
        size = 0 if tensor.data_ptr() in self._weights else tensor.numel()
        self.now += size
        self.peak = max(self.peak, self.now)
        return Held(tensor.detach(), self, size)


class Held:
    def __init__(self, tensor, kept, size):
        self.tensor, self._kept, self._size = tensor, kept, size

    def __del__(self):
        self._kept.now -= self._size


@pytest.mark.parametrize("opener", [cross_encoder, bi_encoder])
def test_cached_chunks_need_less_memory(opener):
    opened = opener()
    loss = "listwise_softmax" if opener is cross_encoder else "info_nce"
    batch, peaks = toy_batch(opened, 32), []
    for cache in ("off", "on"):
        passes = passes_of(opened, settings(loss=loss, gradient_cache=cache, chunk_tokens=150))
        with Kept(opened.model) as kept:
            passes.step(opened.model, batch, 1.0, Sending())
        peaks.append(kept.peak)
    assert peaks[1] < 0.25 * peaks[0]


def test_batches_add_up_to_one(tmp_path):
    """By the counts that losses are means over, whatever the lists' lengths."""
    lists, passages = toy_lists(12)
    for loss in PAIR_LOSSES:
        opened = cross_encoder(dropout=0.0)
        config = settings(loss=loss)
        whole = batch_of(opened, lists, passages)
        _, expected = step(opened, config, whole)
        objective = passes_of(opened, config).objective
        parts = [batch_of(opened, part, passages) for part in (lists[:3], lists[3:])]
        for part in parts:
            share = objective.terms(part.targets) / objective.terms(whole.targets)
            passes_of(opened, config).step(opened.model, part, share, Sending())
        tolerance = 1e-5 if loss != "rerank_and_classify" else 1e-2
        assert greatest_difference(gradients(opened.model), expected) < tolerance, loss


def test_every_loss_of_the_configuration_has_its_record():
    assert tuple(LOSSES) == PAIR_LOSSES
    assert set(VECTOR_LOSSES) - {IN_BATCH} < set(LOSSES)
    taught = {name for name, loss in LOSSES.items() if loss.signal is TWO_TAUGHT}
    assert taught == set(TAUGHT_LOSSES)


def test_graded_losses_take_each_gain_for_what_it_is():
    """A gain next to 0 says next to nothing, a higher one more; to all other losses it is a
    positive, or they do not look at it."""
    lists, passages = toy_lists(6)
    targets = batch_of(cross_encoder(dropout=0.0), lists, passages).targets
    scores = torch.linspace(-8.0, 8.0, len(targets.gains))
    zero = int(torch.nonzero(targets.gains == 0)[0, 0])

    def loss_at(loss, gain):
        gains = targets.gains.index_fill(0, torch.tensor([zero]), gain)
        return float(
            pair_objective(settings(loss=loss)).loss(scores, replace(targets, gains=gains))
        )

    graded = set()
    for loss in PAIR_LOSSES:
        none, least, some, more = (loss_at(loss, gain) for gain in (0.0, 1e-6, 0.3, 0.6))
        if abs(least - none) < 1e-4 and abs(some - none) > 1e-3 < abs(more - some):
            graded.add(loss)
    assert graded == set(GRADED_LOSSES)


def test_what_is_counted_is_what_the_losses_are_means_over():
    """A list more that says nothing leaves the loss as it is."""
    opened = cross_encoder(dropout=0.0)
    lists, passages = toy_lists(6)
    flat = [replace(each, gain=0.0, grade=0, teacher=None) for each in lists[0].candidates]
    silent = replace(lists[0], query_id="silent", candidates=tuple(flat))
    for loss in (name for name in PAIR_LOSSES if name not in ("binary_cross_entropy",)):
        objective = pair_objective(settings(loss=loss))
        targets = batch_of(opened, [*lists, silent], passages).targets
        told = [objective.tells(one) for one in (*lists, silent)]
        assert told == [True] * 6 + [False]
        assert objective.terms(targets) == 6, loss


def test_a_negative_counts_by_its_weight():
    """From as if it were absent to as if it were sure."""
    opened = cross_encoder(dropout=0.0)
    lists, passages = toy_lists(1, most=6)
    passages["n"] = "tide wave great fine"
    config, losses = settings(), []
    for weight in (1e-9, 0.1, 0.5, 1.0):
        candidate = replace(lists[0].candidates[0], doc_id="n", gain=0.0, grade=0, weight=weight)
        one = replace(lists[0], candidates=(*lists[0].candidates, candidate))
        losses.append(step(opened, config, batch_of(opened, [one], passages))[0])
    absent = step(opened, config, batch_of(opened, lists, passages))[0]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(absent, abs=1e-5)
    assert losses[1] - absent < 0.3 * (losses[3] - absent)


def test_lists_are_shuffled_by_the_seed_and_hold_what_counts():
    lists, _ = toy_lists(8)
    unsure = replace(lists[0].candidates[0], weight=0.0)
    lists[0] = replace(lists[0], candidates=(unsure, *lists[0].candidates[1:]))
    made = [Lists(lists, seed) for seed in (0, 0, 1)]
    orders = [[each.doc_id for one in range(8) for each in of[one].candidates] for of in made]
    assert orders[0] == orders[1] != orders[2]
    assert unsure.doc_id not in orders[0]


def test_batches_of_is_what_chunks_are(monkeypatch):
    """Scoring and training read alike."""
    opened = cross_encoder()
    side = toy_batch(opened).sides[0]
    lengths = [len(text.ids) for text in side]
    chunks = passes_of(opened, settings(chunk_tokens=90)).chunks(side)
    assert chunks == list(batches_of(lengths, 90))


def test_plain_passes_that_were_asked_for_are_not_changed():
    opened = cross_encoder()
    passes = passes_of(opened, settings(gradient_cache="off"))
    passes.represent = Starved(passes.represent, most=100)
    with pytest.raises(ModelError, match="gradient_cache = auto"):
        passes.step(opened.model, toy_batch(opened), 1.0, Sending())


def test_a_long_step_is_taken_a_few_lists_at_a_time():
    """Where losses add up: without cached passes, in the memory of some of its lists."""
    opened = cross_encoder(dropout=0.0)
    batch, peaks, found = toy_batch(opened, 64), [], []
    for chunk_tokens in (100_000, 50):
        passes = passes_of(opened, settings(chunk_tokens=chunk_tokens))
        passes.means.chunk_tokens = chunk_tokens
        with Kept(opened.model) as kept:
            loss = passes.step(opened.model, batch, 1.0, Sending())
        peaks.append(kept.peak)
        found.append((float(loss), gradients(opened.model)))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-5)
    assert greatest_difference(found[1][1], found[0][1]) < 1e-5
    assert peaks[1] < 0.2 * peaks[0]


def test_a_cpu_is_asked_for_memory_before_it_is_taken(monkeypatch):
    opened, told = bi_encoder(dropout=0.0), []
    config = settings(loss="info_nce", gradient_cache="auto")
    _, expected = step(opened, config)
    passes = passes_of(opened, config, told)
    monkeypatch.setattr("training.fine_tuning.passes.available_bytes", lambda: 1e6)
    passes.step(opened.model, toy_batch(opened), 1.0, Sending())
    passes.step(opened.model, toy_batch(opened), 1.0, Sending())
    assert passes.means.cached
    assert len(told) == 1
    assert "of 0.0 GB would be needed" in told[0]
    twice = {name: 2 * each for name, each in expected.items()}
    assert greatest_difference(gradients(opened.model), twice) < 1e-5


def test_what_is_available_is_told():
    assert 1e8 < available_bytes() < 1e14

"""Cached gradients against plain ones, and the activations that are alive at once."""

from __future__ import annotations

import contextlib
import functools
import weakref

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
pytest.importorskip("transformers", reason="needs the [train] extra: make test-training")

import torch
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertForSequenceClassification, BertModel

from training.fine_tuning.gradient_cache import Side, cached_backward
from training.losses.distillation import distillation
from training.losses.info_nce import info_nce
from training.losses.lambda_loss import lambda_loss
from training.losses.listwise_softmax import listwise_softmax
from training.losses.margin_ranking import margin_ranking
from training.losses.matryoshka import matryoshka
from training.losses.rank_net import rank_net

WORDS, LENGTH = 50, 12


def config(dropout):
    return BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        attn_implementation="eager",
    )


def cross_encoder(dropout=0.0):
    torch.manual_seed(0)
    return BertForSequenceClassification(config(dropout)).train()


def bi_encoder(dropout=0.0):
    torch.manual_seed(0)
    return BertModel(config(dropout), add_pooling_layer=False).train()


def inputs(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, WORDS, (count, LENGTH), generator=generator)


def scorer(model):
    return lambda ids: model(input_ids=ids).logits[:, 0]


def encoder(model):
    return lambda ids: model(input_ids=ids).last_hidden_state.mean(dim=1)


def gradients(model):
    found = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    model.zero_grad()
    return found


def plain_backward(sides, loss):
    """The same chunks with all activations kept."""
    value = loss(*(torch.cat([side.represent(one) for one in side.chunks]) for side in sides))
    value.backward()
    return value.detach()


def greatest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


GROUPS = torch.tensor([0] * 5 + [1] * 9 + [2] * 2 + [3] * 8)
GRADES = torch.randint(0, 3, (24,), generator=torch.Generator().manual_seed(5)).float()
WEIGHTS = torch.rand(24, generator=torch.Generator().manual_seed(6))
LISTWISE = {
    "listwise softmax": listwise_softmax,
    "LambdaLoss": lambda_loss,
    "RankNet": rank_net,
    "margin": margin_ranking,
    "distillation": functools.partial(distillation, rank_weight=0.5),
}


@pytest.mark.parametrize("name", LISTWISE)
@pytest.mark.parametrize("size", [7, 24])
def test_listwise_gradients_are_those_of_the_whole_batch(name, size):
    model, pairs = cross_encoder(), inputs(24)

    def loss(scores):
        return LISTWISE[name](scores, GROUPS, GRADES, WEIGHTS)

    value = plain_backward([Side(scorer(model), [pairs])], loss)
    expected = gradients(model)
    cached = cached_backward([Side(scorer(model), pairs.split(size))], loss)
    assert float(cached) == pytest.approx(float(value), abs=1e-6)
    assert greatest_difference(gradients(model), expected) < 1e-5


def contrast(queries, documents):
    groups = torch.arange(8).repeat_interleave(3)
    grades = torch.tensor([1.0, 0.0, 0.0]).repeat(8)
    return info_nce(queries, documents, groups, grades, temperature=0.2)


CONTRASTIVE = {
    "InfoNCE": contrast,
    "Matryoshka": functools.partial(matryoshka, contrast, widths=(32, 16)),
}


@pytest.mark.parametrize("name", CONTRASTIVE)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_contrastive_gradients_are_those_of_the_same_chunks(name, dropout):
    """One encoder on both sides; with dropout, the units dropped are the same ones."""
    model = bi_encoder(dropout)
    queries, documents = inputs(8, 2).split(3), inputs(24, 3).split(5)
    sides = [Side(encoder(model), queries), Side(encoder(model), documents)]
    torch.manual_seed(4)
    value = plain_backward(sides, CONTRASTIVE[name])
    after, expected = torch.rand(3), gradients(model)
    torch.manual_seed(4)
    cached = cached_backward(sides, CONTRASTIVE[name])
    assert torch.equal(torch.rand(3), after), "later draws are those of plain training"
    assert float(cached) == pytest.approx(float(value), abs=1e-6)
    assert greatest_difference(gradients(model), expected) < 1e-5
    if dropout:
        torch.manual_seed(5)
        cached_backward(sides, CONTRASTIVE[name])
        assert greatest_difference(gradients(model), expected) > 1e-4


def test_two_encoders():
    query_model, document_model = bi_encoder(0.2), bi_encoder(0.2)
    sides = [
        Side(encoder(query_model), inputs(8, 2).split(8)),
        Side(encoder(document_model), inputs(24, 3).split(6)),
    ]
    torch.manual_seed(1)
    plain_backward(sides, contrast)
    expected = [gradients(query_model), gradients(document_model)]
    torch.manual_seed(1)
    cached_backward(sides, contrast)
    for model, plain in zip((query_model, document_model), expected, strict=True):
        assert greatest_difference(gradients(model), plain) < 1e-5


def test_with_gradient_checkpointing():
    model, pairs = cross_encoder(0.2), inputs(24)
    side = Side(scorer(model), pairs.split(6))
    loss = functools.partial(listwise_softmax, groups=GROUPS, gains=GRADES)
    torch.manual_seed(2)
    plain_backward([side], loss)
    expected = gradients(model)
    checkpointed = functools.partial(checkpoint, scorer(model), use_reentrant=False)
    torch.manual_seed(2)
    cached_backward([Side(checkpointed, side.chunks)], loss)
    assert greatest_difference(gradients(model), expected) < 1e-5


def test_gradients_accumulate_and_scale():
    model, side_of = cross_encoder(), lambda model: Side(scorer(model), inputs(24).split(6))
    loss = functools.partial(listwise_softmax, groups=GROUPS, gains=GRADES)
    cached_backward([side_of(model)], loss)
    once = gradients(model)
    cached_backward([side_of(model)], loss, scale=0.5)
    cached_backward([side_of(model)], loss, scale=lambda value: 2.5 * value)
    thrice = {name: 3 * each for name, each in once.items()}
    assert greatest_difference(gradients(model), thrice) < 1e-5


def test_every_backward_but_the_last_is_not_sent():
    model, entered = cross_encoder(), []

    @contextlib.contextmanager
    def no_sync():
        entered.append("in")
        yield
        entered.append("out")

    loss = functools.partial(listwise_softmax, groups=GROUPS, gains=GRADES)
    cached_backward([Side(scorer(model), inputs(24).split(8))], loss, no_sync=no_sync)
    assert entered == ["in", "out"] * 2


def test_a_side_that_the_loss_does_not_see_has_no_gradient():
    seen, unseen = cross_encoder(), cross_encoder()
    sides = [Side(scorer(seen), [inputs(24)]), Side(scorer(unseen), [inputs(4)])]
    cached_backward(sides, lambda scores, _: listwise_softmax(scores, GROUPS, GRADES))
    assert max(float(each.abs().max()) for each in gradients(unseen).values()) == 0.0


class Activations:
    """Bytes that autograd keeps for backward passes, and the most it kept at once."""

    def __init__(self, model):
        self.now = self.peak = 0
        self._weights = {weight.data_ptr() for weight in model.parameters()}

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept.tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception):
        self._hooks.__exit__(*exception)

    def _keep(self, tensor):
        kept = Kept(tensor.detach())
        if tensor.data_ptr() not in self._weights:
            size = tensor.numel() * tensor.element_size()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(kept, self._release, size)
        return kept

    def _release(self, size):
        self.now -= size


class Kept:
    def __init__(self, tensor):
        self.tensor = tensor


def peak_of(model, backward):
    with Activations(model) as activations:
        backward()
    model.zero_grad()
    return activations.peak


def test_a_list_of_a_hundred_needs_the_memory_of_a_chunk():
    model, chunk = cross_encoder(0.1), 10
    pairs = inputs(100)

    def loss(scores):
        grades = (torch.arange(len(scores)) % 7 == 0).float()
        return listwise_softmax(scores, torch.zeros(len(scores), dtype=torch.long), grades)

    def plain(count):
        return peak_of(model, lambda: plain_backward([Side(scorer(model), [pairs[:count]])], loss))

    side = Side(scorer(model), pairs.split(chunk))
    cached = peak_of(model, lambda: cached_backward([side], loss))
    assert cached < 1.3 * plain(chunk)
    assert cached < 0.15 * plain(100)


def test_a_contrastive_batch_needs_the_memory_of_a_chunk():
    model = bi_encoder(0.1)
    whole = [Side(encoder(model), [inputs(8, 2)]), Side(encoder(model), [inputs(24, 3)])]
    parts = [
        Side(encoder(model), inputs(8, 2).split(2)),
        Side(encoder(model), inputs(24, 3).split(2)),
    ]
    cached = peak_of(model, lambda: cached_backward(parts, contrast))
    assert cached < 0.15 * peak_of(model, lambda: plain_backward(whole, contrast))

"""The training loop on a random network of two layers."""

import dataclasses

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
pytest.importorskip("transformers", reason="needs the [train] extra: make test-training")

import torch
from transformers import BertConfig, BertModel

from training.carried.network import TwoHeads, to_classifier
from training.carried.train import (
    Budgets,
    Plan,
    SpecialTokens,
    TokenizedList,
    loss_of,
    pad_pairs,
    rate_at,
    score_lists,
    train,
)

TOKENS = SpecialTokens(pad=0, cls=1, sep=2)
PLAN = Plan(steps=40, shares=(2,), rate=1e-2, warmup_steps=2, bfloat16=False, lists_at_once=2)
LISTS = [
    TokenizedList((5 + n,), ((5 + n, 9), (7,), (8, 8, 4)), (3.0, 0.0, -1.0), (1.0, 0.0, 0.0))
    for n in range(4)
]


def network():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    return TwoHeads(BertModel(config, add_pooling_layer=False), early_layers=1)


def test_pairs_are_padded_as_bert_reads_them():
    ids, mask, types = pad_pairs([((5,), (6, 7)), ((5, 8), (9,))], TOKENS)
    assert ids.shape == (2, 16)
    assert ids[0, :7].tolist() == [1, 5, 2, 6, 7, 2, 0]
    assert types[0, :7].tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert mask.sum(dim=1).tolist() == [6, 6]


def test_scores_come_in_the_order_of_the_lists_however_they_were_batched():
    one = network().eval()
    small = dataclasses.replace(PLAN, micro_batch_pairs=1)
    with torch.no_grad():
        torch.testing.assert_close(
            score_lists(one, LISTS, TOKENS, PLAN), score_lists(one, LISTS, TOKENS, small)
        )


def test_budgets_cut_query_and_passage():
    one = network().eval()
    plan = dataclasses.replace(PLAN, budgets=Budgets(query=1, passage=2))
    long = [TokenizedList((5, 6, 7), ((8, 9, 10), (4, 4, 4)))]
    short = [TokenizedList((5,), ((8, 9), (4, 4)))]
    with torch.no_grad():
        torch.testing.assert_close(
            score_lists(one, long, TOKENS, plan), score_lists(one, short, TOKENS, plan)
        )


def test_lists_of_several_sizes_share_a_step():
    mixed = [LISTS[0], TokenizedList((5,), ((6,), (7,)), (1.0, 0.0)), LISTS[1]]
    scores = torch.zeros(2, 8)
    alone = [loss_of(torch.zeros(2, len(one.passages)), [one], PLAN) for one in mixed]
    torch.testing.assert_close(loss_of(scores, mixed, PLAN), sum(alone) / 3)


def test_the_loss_falls_and_the_words_stay():
    one, losses = network(), []
    before = one.trunk.embeddings.word_embeddings.weight.clone()
    average = train(one, [LISTS], TOKENS, PLAN, 1, lambda step, loss, kept: losses.append(loss))
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    torch.testing.assert_close(average.trunk.embeddings.word_embeddings.weight, before)


def test_a_seed_gives_the_same_weights_again():
    first, second = (train(network(), [LISTS], TOKENS, PLAN, 7) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_rate_rises_then_falls():
    rates = [rate_at(step, PLAN) for step in range(PLAN.steps)]
    assert rates[0] < rates[1] == pytest.approx(PLAN.rate)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_both_models_score_as_the_network_does():
    one = network().eval()
    batch = pad_pairs([((5,), (6, 7)), ((5, 8), (9,))], TOKENS)
    names = ("input_ids", "attention_mask", "token_type_ids")
    with torch.no_grad():
        both = one(*batch)
        for scores, early in zip(both, (True, False), strict=True):
            model = to_classifier(one, early)
            logits = model(**dict(zip(names, batch, strict=True))).logits
            torch.testing.assert_close(logits[:, 0], scores)

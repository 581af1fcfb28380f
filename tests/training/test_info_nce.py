"""InfoNCE and Matryoshka against plain Python, negative by negative."""

from __future__ import annotations

import functools
import math

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

import torch

from training.losses.info_nce import info_nce
from training.losses.list_scores import list_scores
from training.losses.listwise_softmax import listwise_softmax
from training.losses.matryoshka import matryoshka

QUERIES, DIM = 4, 6
# Row of the query, grade and id of each document: two positives, hard negatives, repetitions.
GROUPS = [0, 0, 0, 1, 1, 2, 2, 2, 3, -1, -1]
GRADES = [1, 2, 0, 1, 0, 1, 0, 0, 1, 0, 1]
DOCUMENT_IDS = [10, 11, 12, 13, 12, 11, 14, 10, 15, 16, 13]
QUERY_IDS = [7, 8, 9, 7]


def vectors(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn((QUERIES, DIM), dtype=dtype, generator=generator)
    return queries, torch.randn((len(GROUPS), DIM), dtype=dtype, generator=generator)


def cosine_of(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def by_hand(queries, documents, weights, document_ids, query_ids, temperature, margin):
    """The negatives of each positive, one by one, as the docstring has it."""
    queries, documents = queries.tolist(), documents.tolist()
    document_ids = document_ids or list(range(len(documents)))
    query_ids = query_ids or list(range(len(queries)))
    terms = []
    for place, (query, grade) in enumerate(zip(GROUPS, GRADES, strict=True)):
        if query < 0 or grade == 0:
            continue
        known = {
            document_ids[other]
            for other, (row, relevant) in enumerate(zip(GROUPS, GRADES, strict=True))
            if row >= 0 and relevant > 0 and query_ids[row] == query_ids[query]
        }
        score = cosine_of(queries[query], documents[place])
        total, seen = math.exp(score / temperature), set()
        own_first = sorted(range(len(documents)), key=lambda other: GROUPS[other] != query)
        for other in own_first:
            document, number = documents[other], document_ids[other]
            if number in known or number in seen:
                continue
            seen.add(number)
            similarity = cosine_of(queries[query], document)
            likely = margin is not None and similarity > score + margin
            if GROUPS[other] == query or not likely:
                total += math.exp(similarity / temperature)
        terms.append(-weights[place] * math.log(math.exp(score / temperature) / total))
    return sum(terms) / len(terms)


def given(document_ids=True, query_ids=True):
    return {
        "groups": torch.tensor(GROUPS),
        "grades": torch.tensor(GRADES, dtype=torch.float64),
        "document_ids": torch.tensor(DOCUMENT_IDS) if document_ids else None,
        "query_ids": torch.tensor(QUERY_IDS) if query_ids else None,
    }


@pytest.mark.parametrize("margin", [None, 0.1, -0.2, 3.0])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize(
    ("document_ids", "query_ids"), [(True, True), (True, False), (False, False)]
)
def test_equal_to_the_formula(margin, temperature, document_ids, query_ids):
    for seed in range(5):
        queries, documents = vectors(seed)
        weights = torch.rand(len(GROUPS), dtype=torch.float64)
        value = info_nce(
            queries,
            documents,
            weights=weights,
            temperature=temperature,
            false_negative_margin=margin,
            **given(document_ids, query_ids),
        )
        expected = by_hand(
            queries,
            documents,
            weights.tolist(),
            DOCUMENT_IDS if document_ids else None,
            QUERY_IDS if query_ids else None,
            temperature,
            margin,
        )
        assert float(value) == pytest.approx(expected, rel=1e-9)


def test_gradients_are_those_of_finite_differences():
    queries, documents = (each.requires_grad_() for each in vectors(0))
    loss = functools.partial(info_nce, temperature=0.3, **given())
    assert torch.autograd.gradcheck(loss, (queries, documents), eps=1e-7, atol=1e-6)


def test_a_masked_document_gets_no_gradient():
    queries, documents = vectors(1)
    documents = documents.requires_grad_()
    info_nce(queries, documents, temperature=0.3, false_negative_margin=None, **given()).backward()
    repeated = [10]  # id 13 stood before, and no list has this copy
    assert documents.grad[repeated].abs().max() == 0.0
    assert documents.grad[:10].abs().sum(dim=1).min() > 0.0


def test_without_negatives_of_others_it_is_the_listwise_softmax():
    """One list, one positive: both are the cross-entropy of the positive."""
    generator = torch.Generator().manual_seed(3)
    query = torch.randn((1, DIM), dtype=torch.float64, generator=generator)
    documents = torch.randn((5, DIM), dtype=torch.float64, generator=generator)
    groups, grades = torch.zeros(5, dtype=torch.long), torch.tensor([0.0, 1.0, 0, 0, 0])
    value = info_nce(query, documents, groups, grades, temperature=0.2)
    scores = list_scores(query, documents, groups, temperature=0.2)
    torch.testing.assert_close(value, listwise_softmax(scores, groups, grades))


def test_linear_in_the_weights_and_blind_to_the_order():
    queries, documents = vectors(2)
    parts = given()
    one, other = torch.rand((2, len(GROUPS)), dtype=torch.float64)
    loss = functools.partial(info_nce, queries)
    both = loss(documents, weights=one + 2 * other, **parts)
    sums = loss(documents, weights=one, **parts) + 2 * loss(documents, weights=other, **parts)
    torch.testing.assert_close(both, sums)
    order = torch.randperm(len(GROUPS), generator=torch.Generator().manual_seed(0))
    # Copies of a document have the same vector here, so it is no matter which of them is kept.
    same = documents[[DOCUMENT_IDS.index(number) for number in DOCUMENT_IDS]]
    mixed = {name: each[order] for name, each in parts.items() if name != "query_ids"}
    torch.testing.assert_close(
        loss(same[order], query_ids=parts["query_ids"], **mixed), loss(same, **parts)
    )


def test_no_positive_is_nought_with_a_gradient():
    queries, documents = (each.requires_grad_() for each in vectors(0))
    value = info_nce(queries, documents, torch.tensor(GROUPS), torch.zeros(len(GROUPS)))
    value.backward()
    assert float(value.detach()) == 0.0
    assert float(documents.grad.abs().sum()) == 0.0


def test_bfloat16_is_summed_in_float32():
    queries, documents = vectors(0, torch.bfloat16)
    assert info_nce(queries, documents, **given()).dtype == torch.float32


def test_matryoshka_is_the_weighted_mean_over_widths():
    queries, documents = vectors(4)
    loss = functools.partial(info_nce, **given())
    each = {width: loss(queries[:, :width], documents[:, :width]) for width in (2, 4, 6)}
    torch.testing.assert_close(
        matryoshka(loss, queries, documents, (6, 2), (1.0, 0.5)), (each[6] + 0.5 * each[2]) / 1.5
    )
    torch.testing.assert_close(
        matryoshka(loss, queries, documents, (2, 4, 6)), sum(each.values()) / 3
    )


def test_matryoshka_takes_a_loss_over_lists_too():
    queries, documents = vectors(5)
    groups = torch.tensor(GROUPS[:9])
    grades = torch.tensor(GRADES[:9], dtype=torch.float64)

    def loss(queries, documents):
        return listwise_softmax(list_scores(queries, documents, groups), groups, grades)

    value = matryoshka(loss, queries, documents[:9], (3,))
    short = [
        cosine_of(queries[row, :3].tolist(), document[:3].tolist())
        for row, document in zip(GROUPS[:9], documents, strict=False)
    ]
    expected = listwise_softmax(torch.tensor(short, dtype=torch.float64), groups, grades)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("widths", [(), (0,), (7,)])
def test_widths_that_a_vector_does_not_have(widths):
    with pytest.raises(ValueError, match="widths must be from 1 to 6"):
        matryoshka(lambda q, d: q.sum(), *vectors(0), widths)

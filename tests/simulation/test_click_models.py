"""Click models: drawn clicks against the closed forms, and these against written-out cases."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.simulation.click_models import (
    CLICK_MODELS,
    Cascade,
    ClickModel,
    DependentClick,
    PositionBased,
    TrustBias,
    attractiveness,
)

RELEVANCES = (0.9, 0.05, 0.6, 0.3, 1.0, 0.05, 0.4)
DRAWS = 40_000


@pytest.mark.parametrize("name", sorted(CLICK_MODELS))
@pytest.mark.parametrize("relevances", [RELEVANCES, RELEVANCES[::-1]])
def test_clicks_are_as_frequent_as_the_closed_form_says(
    name: str, relevances: Sequence[float]
) -> None:
    model, source = CLICK_MODELS[name], random.Random(17)
    counts = [0] * len(relevances)
    for _ in range(DRAWS):
        for rank, clicked in enumerate(model.clicks(relevances, source)):
            counts[rank] += clicked
    for count, probability in zip(counts, model.click_probabilities(relevances), strict=True):
        spread = math.sqrt(DRAWS * probability * (1 - probability))
        assert abs(count - DRAWS * probability) <= 4.5 * spread + 1e-9


def test_pbm_by_hand() -> None:
    model = PositionBased(steepness=2.0)
    assert model.examinations((0.5, 0.5, 0.5)) == pytest.approx([1.0, 1 / 4, 1 / 9])
    assert model.click_probabilities((0.5, 0.8, 0.9)) == pytest.approx([0.5, 0.2, 0.1])


def test_cascade_by_hand() -> None:
    """Craswell et al.: the relevance times the product of what was passed over."""
    r = (0.2, 0.5, 0.9)
    expected = [0.2, 0.8 * 0.5, 0.8 * 0.5 * 0.9]
    assert Cascade().click_probabilities(r) == pytest.approx(expected)
    assert Cascade().examinations(r) == pytest.approx([1.0, 0.8, 0.4])


def enumerated(relevances: Sequence[float], continuation: float) -> list[float]:
    """DCM's click probabilities by going through every pattern of clicks: Guo et al., the
    likelihood of a session whose user may stop after each click."""
    totals = [0.0] * len(relevances)
    for pattern in itertools.product((False, True), repeat=len(relevances)):
        last = max((i for i, clicked in enumerate(pattern) if clicked), default=-1)
        probability = 1.0
        for i, clicked in enumerate(pattern[: last + 1]):
            probability *= relevances[i] if clicked else 1 - relevances[i]
            if clicked and i < last:
                probability *= continuation
        passed_over = math.prod(1 - r for r in relevances[last + 1 :])
        if last >= 0:
            probability *= 1 - continuation + continuation * passed_over
        else:
            probability *= passed_over
        for i, clicked in enumerate(pattern):
            totals[i] += probability * clicked
    return totals


@given(st.lists(st.floats(0.0, 1.0), max_size=8), st.floats(0.0, 1.0))
def test_dcm_against_all_patterns(relevances: list[float], continuation: float) -> None:
    model = DependentClick(continuation)
    assert model.click_probabilities(relevances) == pytest.approx(
        enumerated(relevances, continuation)
    )


def test_dcm_that_always_goes_on_clicks_each_by_its_relevance() -> None:
    assert DependentClick(1.0).click_probabilities(RELEVANCES) == pytest.approx(RELEVANCES)


def test_trust_bias_by_hand() -> None:
    model = TrustBias(steepness=1.0, mistake=0.65)
    first, second = model.click_probabilities((1.0, 0.0))
    assert first == pytest.approx(0.98)
    assert second == pytest.approx(0.5 * 0.325)


def test_trust_bias_clicks_the_same_irrelevant_hit_more_often_higher_up_than_examined() -> None:
    model, worthless = TrustBias(), [0.0] * 10
    seen, clicked = model.examinations(worthless), model.click_probabilities(worthless)
    given_seen = [c / e for c, e in zip(clicked, seen, strict=True)]
    assert given_seen == sorted(given_seen, reverse=True)
    assert given_seen[0] > 5 * given_seen[-1]


@pytest.mark.parametrize("name", sorted(CLICK_MODELS))
@given(relevances=st.lists(st.floats(0.0, 1.0), max_size=40))
def test_all_models_hold_the_interface(name: str, relevances: list[float]) -> None:
    model: ClickModel = CLICK_MODELS[name]
    clicks = model.clicks(relevances, random.Random(1))
    assert clicks == model.clicks(relevances, random.Random(1))
    seen, clicked = model.examinations(relevances), model.click_probabilities(relevances)
    assert len(clicks) == len(seen) == len(clicked) == len(relevances)
    assert seen == sorted(seen, reverse=True)
    assert all(0.0 <= c <= e + 1e-12 <= 1.0 + 1e-9 for c, e in zip(clicked, seen, strict=True))


def test_cascade_clicks_at_most_once() -> None:
    source = random.Random(5)
    assert max(sum(Cascade().clicks(RELEVANCES, source)) for _ in range(500)) == 1


@pytest.mark.parametrize(
    ("grade", "probability"),
    [(0, 0.1), (1, 0.1 + 0.9 / 7), (2, 0.1 + 0.9 * 3 / 7), (3, 1.0), (-1, 0.1)],
)
def test_attractiveness(grade: int, probability: float) -> None:
    assert attractiveness(grade, 3, noise=0.1) == pytest.approx(probability)


def test_attractiveness_of_binary_grades() -> None:
    assert [attractiveness(grade, 1, 0.0) for grade in (0, 1)] == [0.0, 1.0]

"""The weight that a log tells, in worlds where it is known: grades that rise with two scores, of
which production shows the ten that it ranks highest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from sidecar.rerank.combination import combine, standardise
from training.exporting.dev_pairs import DevPairs
from training.exporting.expected_weight import expected_weight
from training.exporting.weight_choice import choose_weight, recall_scores
from training.lists import ListCandidate, Source, Split, TrainingList

CANDIDATES, SHOWN = 30, 10


def a_world(
    truth: float, served: float, lists: int = 200, noise: float = 0.3, seed: int = 1
) -> tuple[DevPairs, np.ndarray, np.ndarray]:
    """Dev lists, the model's scores and those of the stage before."""
    source = np.random.default_rng(seed)
    made, scores, earlier = [], [], []
    for number in range(lists):
        before, own = np.sort(source.normal(size=CANDIDATES))[::-1], source.normal(size=CANDIDATES)
        grade = 2.0 + truth * standardise(own) + (1 - truth) * standardise(before)
        grade = grade + noise * source.normal(size=CANDIDATES)
        seen = set(np.argsort(-combine(own, before, served))[:SHOWN].tolist())
        made.append(
            TrainingList(
                str(number),
                f"query {number}",
                Split.DEV,
                tuple(
                    ListCandidate(
                        f"{number}-{at}",
                        float(at in seen),
                        # Of what was not shown nothing may be learnt.
                        float(grade[at]) if at in seen else 4.0 * float(at % 2),
                        source=Source.CLICKED if at in seen else Source.HARD,
                        recalled=float(before[at]),
                    )
                    for at in range(CANDIDATES)
                ),
            )
        )
        scores.append(own)
        earlier.append(before)
    return DevPairs(made, {}), np.concatenate(scores), np.concatenate(earlier)


@pytest.mark.parametrize("truth", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("served", [0.0, 0.35, 1.0])
def test_the_share_is_found_whatever_chose_what_was_shown(truth: float, served: float) -> None:
    found = expected_weight(*a_world(truth, served))
    assert found is not None
    assert found.weight == pytest.approx(truth, abs=max(0.02, 3 * found.error))
    assert found.error < 0.05
    assert found.lists == 200


def test_its_error_is_that_of_other_logs() -> None:
    weights, errors = [], []
    for seed in range(40):
        found = expected_weight(*a_world(0.6, 0.35, lists=30, noise=2.0, seed=seed))
        assert found is not None
        weights.append(found.weight)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(weights), rel=0.35)


def test_the_choice_of_users_lists_is_the_logs() -> None:
    dev, scores, earlier = a_world(0.7, 0.35)
    assert choose_weight(dev, scores, earlier, 0.35).weight == pytest.approx(0.7, abs=0.03)
    few = DevPairs(dev.lists[:10], {})
    assert choose_weight(few, scores[: 10 * CANDIDATES], earlier[:300], 0.35).weight == 0.35


def test_what_may_be_chance_leaves_the_weight_as_it_is() -> None:
    dev, scores, earlier = a_world(0.45, 0.35, lists=25, noise=3.0)
    chosen = choose_weight(dev, scores, earlier, 0.35)
    assert chosen.weight == 0.35
    assert "may be chance" in chosen.why


def test_scores_that_tell_nothing_leave_the_weight_as_it_is() -> None:
    dev, scores, earlier = a_world(0.5, 0.35)
    assert expected_weight(dev, -scores, -earlier) is None
    assert choose_weight(dev, -scores, -earlier, 0.35).weight == 0.35
    alone = expected_weight(dev, scores, -earlier)
    assert alone is not None
    assert alone.weight == 1.0


def test_recall_scores_are_fused_ones_where_all_are_known() -> None:
    dev, _, earlier = a_world(0.5, 0.35, lists=2)
    np.testing.assert_array_equal(recall_scores(dev), earlier)
    first = dev.lists[0]
    one, *others = first.candidates
    unknown = (dataclasses.replace(one, recalled=None), *others)
    partly = DevPairs([dataclasses.replace(first, candidates=unknown), dev.lists[1]], {})
    ranks = np.arange(1, CANDIDATES + 1)
    np.testing.assert_allclose(recall_scores(partly)[:CANDIDATES], 1 / (60 + ranks))
    np.testing.assert_array_equal(recall_scores(partly)[CANDIDATES:], earlier[CANDIDATES:])

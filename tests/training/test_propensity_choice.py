"""Held-out evidence: perplexity, comparisons within a rank, and what `auto` makes of them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click_logs import FIXED, STRONG, SWAPPED, WEAK, Policy, World, a_world

from sidecar.errors import ConfigurationError, InputFileError
from training.clicks.log import ClickLog, FloatArray, click_log
from training.labels.concordance import ConcordanceGain, compare, concordance
from training.labels.estimator_choice import Auto, Evidence, refusal
from training.labels.from_clicks import LabelRules, label
from training.labels.held_out import Gain
from training.propensity.base import (
    Estimator,
    PositionModel,
    clipped,
    fill_unknown,
    position_model,
)
from training.propensity.cells import count_cells
from training.propensity.estimators import LEARNT, NAMES, estimator_named
from training.propensity.from_file import PropensityFile, write_propensities
from training.propensity.harvest import InterventionHarvest
from training.propensity.none import NoPropensity
from training.propensity.perplexity import perplexity

NO_LEAST = LabelRules(least_impressions=0.0)


def test_perplexity_by_hand() -> None:
    log = click_log(np.zeros(2), np.array([[0, 1], [0, 1]]), clicks=np.array([[1, 0], [0, 0]]))
    model = position_model("pbm", log, np.array([1.0, 0.5]))
    chances = model.click_probabilities(log)[0]
    found = perplexity(model, log)
    bits = -(np.log2(chances[0]) + np.log2(1 - chances[0])) / 2
    assert found.by_rank[0] == pytest.approx(2**bits)
    assert found.by_rank[1] == pytest.approx(1 / (1 - chances[1]))
    nats = np.log(chances[0] * (1 - chances[0])) + 2 * np.log(1 - chances[1])
    assert found.log_likelihood == pytest.approx(nats / 2)


@pytest.mark.parametrize("clicks", ["pbm", "dcm", "cascade", "trust"])
def test_the_model_that_drew_the_clicks_foretells_them_best(clicks: str) -> None:
    log = a_world(clicks, WEAK, sessions=20_000, queries=40).log
    earlier, later = log.split_by_time(0.3)
    found = {
        name: perplexity(one.fit(earlier), later).log_likelihood for name, one in LEARNT.items()
    }
    best = max(found, key=lambda name: found[name])
    same = {"pbm": {"power", "harvest", "pbm", "trust"}, "cascade": {"cascade", "dcm"}}
    assert best in same.get(clicks, {clicks})
    assert found[best] > found["none"]


@pytest.mark.parametrize("name", sorted(LEARNT))
def test_every_model_holds_the_interface(name: str) -> None:
    log = a_world("pbm", WEAK, sessions=400, queries=10).log
    short = np.where(np.arange(400)[:, None] % 2 * np.ones(10) * np.arange(10) > 6, -1, 0)
    log = click_log(
        log.queries,
        np.where(short < 0, -1, log.documents),
        clicks=log.clicks & (short == 0),
        query_names=log.query_names,
        document_names=log.document_names,
    )
    model = LEARNT[name].fit(log)
    unseen = log.select(np.arange(5))
    examined = model.examinations(unseen)
    assert model.name == name
    assert model.propensities[0] == pytest.approx(1.0)
    assert (examined[~unseen.shown] == 0).all()
    for chances in (
        model.click_probabilities(unseen),
        model.conditional_click_probabilities(unseen),
        model.clicks_for_rank(unseen),
    ):
        assert chances.shape == unseen.documents.shape
        assert ((chances >= 0) & (chances <= 1)).all()
        assert (chances[~unseen.shown] == 0).all()


def brute_concordance(log: ClickLog, score_of: dict[int, float]) -> float:
    """Impression against impression."""
    right, compared = 0.0, 0.0
    for query, rank in itertools.product(set(log.queries.tolist()), range(log.ranks)):
        rows = np.flatnonzero((log.queries == query) & log.shown[:, rank])
        pairs = log.pair_ids[rows, rank].tolist()
        clicked = log.clicks[rows, rank].tolist()
        for i, j in itertools.product(range(len(rows)), repeat=2):
            if clicked[i] and not clicked[j] and pairs[i] != pairs[j]:
                a, b = score_of[pairs[i]], score_of[pairs[j]]
                right += (1.0 if a > b else 0.5 if a == b else 0.0) / len(rows)
                compared += 1 / len(rows)
    return right / compared


@pytest.mark.parametrize("seed", range(4))
def test_concordance_against_brute_force(seed: int) -> None:
    log = a_world("pbm", WEAK, sessions=120, queries=3, seed=seed).log
    cells = count_cells(log)
    scores = np.random.default_rng(seed).integers(0, 4, len(cells.pair_ids)).astype(float)
    score_of = dict(zip(cells.pair_ids.tolist(), scores.tolist(), strict=True))
    found = concordance(log, scores)
    assert found.mean == pytest.approx(brute_concordance(log, score_of))


def test_a_gain_has_the_error_of_drawn_queries() -> None:
    """Against a bootstrap of the queries."""
    world = a_world("pbm", WEAK, sessions=5000, queries=60)
    cells, source = count_cells(world.log), np.random.default_rng(1)
    truth = world.relevances.ravel()[cells.pair_ids]
    worse = truth + source.normal(0, 0.3, len(truth))
    one, other = concordance(world.log, worse), concordance(world.log, truth)
    found = compare(one, other)
    gains = []
    for _ in range(400):
        drawn = source.integers(60, size=60)
        difference = (other.right - one.right)[drawn].sum()
        gains.append(difference / one.compared[drawn].sum())
    assert found.gain == pytest.approx(other.mean - one.mean)
    assert found.error == pytest.approx(np.std(gains), rel=0.25)
    assert found.p < 0.01
    assert compare(one, one).p == 0.5


def ndcg(world: World, estimator: Estimator) -> float:
    """nDCG@10 of ranking the documents of each query by their labels."""
    labels = label(world.log, estimator.fit(world.log), NO_LEAST)
    scores = np.full(world.relevances.shape, -1.0)
    scores[labels.queries, labels.documents] = labels.relevances
    ranked = np.take_along_axis(world.relevances, np.argsort(-scores, axis=1)[:, :10], axis=1)
    ideal = -np.sort(-world.relevances, axis=1)[:, :10]
    discounts = 1 / np.log2(np.arange(2, 12))
    return float(((ranked @ discounts) / (ideal @ discounts)).mean())


POLICIES = [
    WEAK,
    STRONG,
    Policy(0.15, 0.03),
    Policy(2.0, 0.0, swaps=0.01),
    Policy(0.15, 0.0, swaps=0.1),
]


@pytest.mark.parametrize("clicks", ["pbm", "trust", "cascade", "dcm"])
@pytest.mark.parametrize("policy", POLICIES)
def test_auto_is_never_worse_than_none(policy: Policy, clicks: str) -> None:
    world = a_world(clicks, policy, sessions=1500, queries=50)
    auto = Auto(rules=NO_LEAST).choose(world.log)
    assert ndcg(world, auto.estimator) >= ndcg(world, NoPropensity()) - 0.005


@pytest.mark.parametrize("policy", [WEAK, SWAPPED])
def test_auto_takes_what_there_is_to_gain(policy: Policy) -> None:
    """A weak logger: 70 % of what the true examinations give."""
    world = a_world("pbm", policy, queries=50, sessions=20_000)
    choice = Auto(rules=NO_LEAST).choose(world.log)
    none, full = ndcg(world, NoPropensity()), ndcg(world, Known(world.propensities))
    assert full > none + 0.02
    assert ndcg(world, choice.estimator) - none > 0.7 * (full - none)
    assert choice.lines()[-1].startswith(f"chosen: {choice.estimator.name} (by ")


@pytest.mark.parametrize("clicks", ["pbm", "trust"])
def test_a_short_log_of_a_weak_logger_is_corrected(clicks: str) -> None:
    """Of 5,000 sessions concordance within a rank makes nothing certain; and the likelihood of all
    clicks, most of which were made where their document always was, prefers `dcm`."""
    world = a_world(clicks, Policy(2.0, 0.0, swaps=0.1), sessions=5000, queries=100)
    choice = Auto(rules=NO_LEAST).choose(world.log)
    assert ndcg(world, choice.estimator) > ndcg(world, NoPropensity()) + 0.03


@pytest.mark.parametrize("clicks", ["pbm", "dcm"])
def test_auto_keeps_none_where_nothing_moved_and_says_why(clicks: str) -> None:
    choice = Auto().choose(a_world(clicks, FIXED, sessions=1000, queries=20).log)
    assert choice.estimator.name == "none"
    assert choice.lines() == [
        "chosen: none (no documents with clicks moved between ranks: nothing tells position)"
    ]
    assert choice.to_json()["candidates"] == []


def test_auto_keeps_none_where_the_logger_knows_more_than_clicks() -> None:
    """True examinations would make the labels worse."""
    world = a_world("pbm", STRONG, queries=100)
    assert ndcg(world, Known(world.propensities)) < ndcg(world, NoPropensity()) - 0.01
    assert Auto(rules=NO_LEAST).choose(world.log).estimator.name == "none"


@pytest.mark.parametrize("seed", range(3))
def test_auto_does_no_harm_where_there_is_no_bias(seed: int) -> None:
    world = a_world("pbm", WEAK, sessions=1500, queries=30, seed=seed)
    source = np.random.default_rng(seed)
    shown = np.take_along_axis(world.relevances[world.log.queries], world.log.documents, 1)
    log = click_log(
        world.log.queries,
        world.log.documents,
        clicks=source.random(shown.shape) < shown,
        times=world.log.times,
        query_names=world.log.query_names,
        document_names=world.log.document_names,
    )
    unbiased = World(log, np.ones(10), world.relevances)
    chosen = Auto(rules=NO_LEAST).choose(log).estimator
    assert ndcg(unbiased, chosen) >= ndcg(unbiased, NoPropensity()) - 0.005


def test_labels_that_are_worse_within_a_rank_are_refused() -> None:
    gain = Gain(0.1, 0.01, 20)
    for within, refused in ((-0.021, True), (-0.019, False), (0.1, False)):
        found = refusal(0.1, ConcordanceGain(within, 0.01, 0.5, 20))
        assert bool(found) == refused
        assert (
            "refused: " in Evidence(gain, 0.1, ConcordanceGain(0, 0.01, 0.5, 20), found).line("x")
        ) == (refused)


def test_what_is_not_finite_is_null() -> None:
    told = Evidence(Gain(0.0, math.inf, 1), 0.1, ConcordanceGain(0.0, math.inf, 1.0, 1), "")
    found = json.loads(json.dumps(told.to_json("power"), allow_nan=False))
    assert found["error"] is None
    assert found["within_rank"] == {"gain": 0.0, "error": None, "p": 1.0}


def test_a_wrong_candidate_is_refused() -> None:
    """Examination that grows down the ranks."""
    world = a_world("pbm", WEAK, sessions=3000, queries=60)
    wrong = Known(np.sqrt(np.arange(1.0, 11.0)), name="wrong")
    choice = Auto(candidates=(wrong,), rules=NO_LEAST).choose(world.log)
    assert choice.estimator.name == "none"
    told = choice.to_json()["candidates"][0]
    assert told["refused"] == "foretells clicks no better than none"
    assert told["gain"] < 0


class Known:
    """The true examinations."""

    def __init__(self, propensities: FloatArray, name: str = "known") -> None:
        self._propensities, self.name = propensities, name

    def fit(self, log: ClickLog) -> PositionModel:
        return position_model(self.name, log, self._propensities)


def test_auto_chooses_on_part_of_a_long_log() -> None:
    log = a_world("pbm", WEAK, sessions=3000, queries=20).log
    _, part = log.split(0.2, 1)
    short = Auto(most_impressions=600).choose(log)
    assert short.lines() == Auto().choose(part).lines() != Auto().choose(log).lines()


def test_auto_fits_the_chosen_one_on_everything() -> None:
    log = a_world("pbm", WEAK, sessions=500, queries=10).log
    assert Auto(candidates=()).fit(log).name == "none"


def test_propensities_travel_by_file(tmp_path: Path) -> None:
    log = a_world("pbm", WEAK, sessions=3000, queries=20).log
    model, path = InterventionHarvest().fit(log), tmp_path / "propensities.json"
    write_propensities(path, model)
    again = PropensityFile(path).fit(log)
    assert again.propensities == pytest.approx(model.propensities, abs=1e-6)
    path.write_text(json.dumps({"propensities": [0.8, 0.4, None]}))
    wide = PropensityFile(path).fit(log)
    assert wide.propensities[:2].tolist() == [1.0, 0.5]
    assert np.isnan(wide.propensities[2:]).all()
    assert (wide.examinations(log)[:, 2:] == 0.5).all()


@pytest.mark.parametrize("text", ["", "[1]", '{"propensities": []}', '{"propensities": [0, 1]}'])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "propensities.json"
    path.write_text(text)
    with pytest.raises(InputFileError, match=r"propensities\.json: "):
        estimator_named("file", path).fit(a_world("pbm", sessions=20, queries=2).log)


def test_every_name_is_known() -> None:
    for name in NAMES:
        assert estimator_named(name, Path("x")).name == name
    with pytest.raises(ConfigurationError, match="there are none, power, harvest"):
        estimator_named("ips")
    with pytest.raises(ConfigurationError, match="say where"):
        estimator_named("file")


def test_clipping_and_filling() -> None:
    assert clipped(np.array([1.0, 0.05, 0.0])).tolist() == [1.0, 0.1, 0.0]
    filled = fill_unknown(np.array([np.nan, 0.7, np.nan, 0.2]))
    assert filled.tolist() == [1.0, 0.7, 0.7, 0.2]

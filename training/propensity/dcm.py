"""The dependent click model: from the top down; after a click at k one goes on with lambda_k.

    P(E_1) = 1,  P(E_k+1) = P(E_k) (1 - r_k + lambda_k r_k),  P(C_k) = P(E_k) r_k

Source: Guo, Liu, Wang, "Efficient Multiple-Click Models in Web Search" (WSDM 2009), section 4. They
maximise a bound that takes the last click for the end; here EM maximises the likelihood itself: the
latent is whether the user went on after the last click and found nothing worth a second one.
The cascade model is the one that never goes on (Craswell et al., WSDM 2008, section 3.4); it is
learnt from the ranks down to the first click.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import BoolArray, ClickLog, FloatArray, IntArray, lowest_rank
from training.propensity.base import PRIOR_IMPRESSIONS, Relevances
from training.propensity.cells import totals
from training.propensity.em import EDGE, Fit, maximise

# Examinations of the mean pair before a pair is shown, while continuations are learnt. More of it
# makes documents at the bottom, which are seldom examined, too relevant, and continuations too low.
_FIT_PRIOR = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class SequentialModel:
    """Examination from the top down, by what is shown and clicked above."""

    name: str
    continuations: FloatArray  # (ranks,) lambda: the probability to go on after a click
    relevances: Relevances
    mean_examinations: FloatArray  # (ranks,) over the fitted log

    @property
    def propensities(self) -> FloatArray:
        """(ranks,): the mean of the fitted log's examinations."""
        return self.mean_examinations

    def examinations(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): P(E_k), before anything is clicked."""
        return _examined(self.relevances.of(log), self.continuations, log.shown)

    def clicks_for_rank(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): none."""
        return np.zeros(log.documents.shape)

    def click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): P(C_k), before anything is clicked."""
        return self.examinations(log) * self.relevances.of(log)

    def conditional_click_probabilities(self, log: ClickLog) -> FloatArray:
        """(impressions, ranks): P(C_k | clicks above), by Bayes' rule down the ranks."""
        relevance = np.where(log.shown, self.relevances.of(log), 0.0)
        looking, columns = np.ones(log.impressions), []
        for rank in range(log.ranks):
            r, clicked = relevance[:, rank], log.clicks[:, rank]
            columns.append(looking * r)
            passed = looking * (1 - r) / np.maximum(1 - looking * r, EDGE)
            looking = np.where(clicked, self.continuations[rank], passed)
        return np.stack(columns, axis=1) if columns else relevance


@dataclass(frozen=True, slots=True)
class DependentClicks:
    """Users who click several hits and, sooner or later, have enough."""

    name: str = "dcm"

    def fit(self, log: ClickLog) -> SequentialModel:
        """Continuations by EM, then relevances under them, with more of a prior."""
        pages = _pages(log)
        fit, mean = fit_dcm(pages)
        examined = examined_given_clicks(pages, fit.parameters)
        values = _relevances(pages, examined, mean, PRIOR_IMPRESSIONS)
        continuations = fit.parameters[len(pages.pair_ids) :]
        return _model(self.name, log, Relevances(pages.pair_ids, values, mean), continuations)


@dataclass(frozen=True, slots=True)
class CascadeClicks:
    """Users who read down to the first click, which ends it; what is clicked below it is taken for
    a later visit and not learnt from."""

    name: str = "cascade"

    def fit(self, log: ClickLog) -> SequentialModel:
        """Clicks over impressions, both down to the first click."""
        pages = _pages(log)
        first = np.where(pages.clicks.any(axis=1), pages.clicks.argmax(axis=1), log.ranks)
        examined = pages.shown & (np.arange(log.ranks) <= first[:, None])
        weights = np.where(examined, pages.weights[:, None], 0.0)
        found, seen = pages.by_pair(weights * pages.clicks), pages.by_pair(weights)
        mean = float(found.sum() / max(float(seen.sum()), EDGE))
        values = (found + PRIOR_IMPRESSIONS * mean) / (seen + PRIOR_IMPRESSIONS)
        return _model(self.name, log, Relevances(pages.pair_ids, values, mean), np.zeros(log.ranks))


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Impressions with the same documents and the same clicks counted as one."""

    pair_ids: IntArray  # (pairs,) ascending
    pairs: IntArray  # (pages, ranks) places in pair_ids; that of a rank not shown is 0
    shown: BoolArray  # (pages, ranks)
    clicks: BoolArray  # (pages, ranks)
    weights: FloatArray  # (pages,)
    last: IntArray  # (pages,) the lowest clicked rank, from 1; 0 without a click

    def by_pair(self, values: FloatArray) -> FloatArray:
        """(pages, ranks) -> (pairs,): sums of what is shown."""
        chosen = self.shown
        return totals(self.pairs[chosen], values[chosen], len(self.pair_ids))


def _pages(log: ClickLog) -> Pages:
    rows = np.column_stack([log.queries, log.documents, log.clicks])
    first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)[1:]
    weights = totals(place.reshape(-1), log.weights, len(first))
    ids = log.pair_ids[first]
    pair_ids, pairs = np.unique(np.where(ids < 0, ids.max(initial=0), ids), return_inverse=True)
    clicks = log.clicks[first]
    return Pages(pair_ids, pairs.reshape(ids.shape), ids >= 0, clicks, weights, lowest_rank(clicks))


def _model(
    name: str, log: ClickLog, relevances: Relevances, continuations: FloatArray
) -> SequentialModel:
    examined = _examined(relevances.of(log), continuations, log.shown)
    total = log.weights @ log.shown
    with np.errstate(invalid="ignore"):
        means = np.where(total > 0, log.weights @ examined / total, np.nan)
    return SequentialModel(name, continuations, relevances, means)


def _examined(relevance: FloatArray, continuations: FloatArray, shown: BoolArray) -> FloatArray:
    """(impressions, ranks): products of what is above."""
    going_on = np.where(shown, 1 - relevance * (1 - continuations), 1.0)
    above = np.ones_like(going_on)
    above[:, 1:] = np.cumprod(going_on, axis=1)[:, :-1]
    return np.where(shown, above, 0.0)


def fit_dcm(pages: Pages) -> tuple[Fit, float]:
    """(the fit of relevances and then continuations, the mean relevance of its prior). Maximises
    `log_posterior`."""
    mean = _mean_relevance(pages)
    ranks = pages.shown.shape[1]
    start = np.concatenate([np.full(len(pages.pair_ids), mean), np.full(ranks, 0.5)])
    fit = maximise(
        lambda parameters: _step(pages, parameters, mean),
        lambda parameters: log_posterior(pages, parameters, mean),
        start,
    )
    return fit, mean


def log_posterior(pages: Pages, parameters: FloatArray, mean: float) -> float:
    """Likelihood of the pages, in nats, and `_FIT_PRIOR` of the mean relevance a pair."""
    values, continuations = np.split(parameters, [len(pages.pair_ids)])
    values = np.clip(values, EDGE, 1 - EDGE)
    stops, seen, last = _after_last_click(pages, values, continuations)
    r = values[pages.pairs]
    upto = pages.shown & (np.arange(r.shape[1]) < last[:, None])
    each = np.where(pages.clicks, np.log(r), np.log1p(-r))
    ranks = np.arange(1, r.shape[1] + 1)
    gone_on = pages.clicks & (ranks < last[:, None])
    each = each + gone_on * np.log(np.clip(continuations, EDGE, 1.0))
    ends = np.log(np.maximum(stops + seen, EDGE**2))
    prior = _FIT_PRIOR * (mean * np.log(values) + (1 - mean) * np.log1p(-values)).sum()
    return float(pages.weights @ ((each * (upto | gone_on)).sum(axis=1) + ends) + prior)


def _after_last_click(
    pages: Pages, values: FloatArray, continuations: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """(P(stopped at the last click), P(went on and clicked nothing), the last clicked rank), each
    (pages,); without a click nobody stopped."""
    last = pages.last
    below = pages.shown & (np.arange(pages.shown.shape[1]) >= last[:, None])
    nothing = np.where(below, 1 - values[pages.pairs], 1.0).prod(axis=1)
    going_on = np.where(last > 0, continuations[np.maximum(last - 1, 0)], 1.0)
    return 1 - going_on, going_on * nothing, last


def examined_given_clicks(pages: Pages, parameters: FloatArray) -> FloatArray:
    """(pages, ranks): P(E_k | all clicks of the page): 1 down to the last one."""
    return _examined_if(pages, _went_on(pages, parameters))


def _examined_if(pages: Pages, went_on: FloatArray) -> FloatArray:
    """`went_on` (pages,) below the last click."""
    upto = np.arange(1, pages.shown.shape[1] + 1) <= pages.last[:, None]
    return np.where(upto, 1.0, went_on[:, None])


def _went_on(pages: Pages, parameters: FloatArray) -> FloatArray:
    """(pages,): P(went on after the last click | all clicks)."""
    values, continuations = np.split(parameters, [len(pages.pair_ids)])
    stops, seen, _ = _after_last_click(pages, values, continuations)
    return seen / np.maximum(stops + seen, EDGE**2)


def _step(pages: Pages, parameters: FloatArray, mean: float) -> FloatArray:
    """E: who went on after the last click; M: frequencies."""
    went_on = _went_on(pages, parameters)
    relevances = _relevances(pages, _examined_if(pages, went_on), mean, _FIT_PRIOR)
    ranks = np.arange(1, pages.shown.shape[1] + 1)
    is_last = ranks == pages.last[:, None]
    clicked = pages.clicks * pages.weights[:, None]
    clicks = clicked.sum(axis=0)
    further = (clicked * np.where(is_last, went_on[:, None], 1.0)).sum(axis=0)
    before = parameters[len(pages.pair_ids) :]
    after = np.where(clicks > 0, further / np.maximum(clicks, EDGE), before)
    return np.concatenate([relevances, after])


def _relevances(pages: Pages, examined: FloatArray, mean: float, prior: float) -> FloatArray:
    """(pairs,): clicks over examinations, after `prior` examinations of the mean pair."""
    weights = pages.weights[:, None]
    found, seen = pages.by_pair(weights * pages.clicks), pages.by_pair(weights * examined)
    return (found + prior * mean) / (seen + prior)


def _mean_relevance(pages: Pages) -> float:
    """Clicks over what is surely examined: down to the last click, all where there is none."""
    last = pages.last[:, None]
    ranks = np.arange(1, pages.shown.shape[1] + 1)
    examined = pages.shown & ((ranks <= last) | (last == 0))
    clicks, seen = pages.weights @ pages.clicks, pages.weights @ examined
    return float(np.clip(clicks.sum() / max(float(seen.sum()), EDGE), 1e-4, 1 - 1e-4))

"""How well a click model foretells clicks that it has not seen, rank by rank.

    perplexity_k = 2 ^ (- mean over impressions of [C_k log2 q_k + (1 - C_k) log2 (1 - q_k)])

1 is certainty, 2 a coin. Source: Dupret, Piwowarski, "A User Browsing Model to Predict Search
Engine Click Data from Past Observations" (SIGIR 2008), section 5. q_k is the probability before
anything is clicked; the conditional one is given the clicks above, and the sum of its logarithms is
the log-likelihood of whole impressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.clicks.log import ClickLog, FloatArray
from training.propensity.base import ClickModel

# A click that a model holds for impossible costs 2^13.3, not everything.
LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Perplexity:
    """Of one model on one log. Ranks that were never shown are NaN; means are over the others."""

    name: str
    by_rank: FloatArray  # (ranks,)
    conditional_by_rank: FloatArray  # (ranks,)
    log_likelihood: float  # nats an impression, of its clicks in order

    @property
    def mean(self) -> float:
        """Over ranks."""
        return float(np.nanmean(self.by_rank))

    @property
    def conditional_mean(self) -> float:
        """Over ranks."""
        return float(np.nanmean(self.conditional_by_rank))


def perplexity(model: ClickModel, log: ClickLog) -> Perplexity:
    """Of a fitted model on another part of its log."""
    plain = click_bits(model.click_probabilities(log), log)
    conditional = click_bits(model.conditional_click_probabilities(log), log)
    total = max(float(log.weights.sum()), 1e-12)
    likelihood = -np.log(2) * float(log.weights @ np.nansum(conditional, axis=1)) / total
    return Perplexity(
        model.name, _by_rank(plain, log.weights), _by_rank(conditional, log.weights), likelihood
    )


def click_bits(probabilities: FloatArray, log: ClickLog) -> FloatArray:
    """(impressions, ranks): -log2 of the probability of what was done, NaN where nothing is
    shown."""
    q = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    bits = -np.log2(np.where(log.clicks, q, 1 - q))
    return np.where(log.shown, bits, np.nan)


def _by_rank(bits: FloatArray, weights: FloatArray) -> FloatArray:
    shown = np.isfinite(bits)
    total = weights @ shown
    with np.errstate(invalid="ignore"):
        means = weights @ np.where(shown, bits, 0.0) / np.where(total > 0, total, np.nan)
    powers: FloatArray = np.exp2(means)
    return powers

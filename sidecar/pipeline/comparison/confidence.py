"""Bounds on a share that hold at every moment at once: one may look after each observation and stop
when one likes.

Of observations X_1, X_2, ... that are 1 with probability p, s of the first n were 1. For a prior
Beta(a, b) over shares

    M_n(p) = B(a + s, b + n - s) / (B(a, b) p^s (1 - p)^(n - s))

is a mixture of likelihood ratios against p, so a martingale with mean 1, which ever reaches 1/alpha
with a probability of alpha at most (Ville's inequality). The shares {p : M_n(p) < 1/alpha} hold the
true one at all n together with probability 1 - alpha, whatever the prior, which says only where the
interval narrows soonest.

Sources: Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", Annals of
Mathematical Statistics 41(5), 1970; Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform,
Nonparametric, Nonasymptotic Confidence Sequences", Annals of Statistics 49(2), 2021 (its
beta-binomial mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_HALVINGS = 30  # of an interval of at most 1: to 1e-9


@dataclass(frozen=True, slots=True)
class Prior:
    """Beta(a, b)."""

    a: float
    b: float


# Shares around a half, as sessions prefer one of two rankings. Of a = b in 0.5 to 50 this is within
# some 15 % of the fewest trials that it takes to tell 0.55, 0.6 and 0.7 from a half.
NEAR_HALF = Prior(5.0, 5.0)
# Any share, those near 0 and 1 first (Jeffreys), as calls fail.
ANY = Prior(0.5, 0.5)
# Shares of about 1 %, as answers take longer than a 99th percentile.
NEAR_ONE_PERCENT = Prior(1.0, 99.0)


def log_evidence(successes: int, trials: int, share: float, prior: Prior) -> float:
    """log M_n(share): the evidence that the share is another one; infinite if it cannot be it."""
    return _log_mixture(successes, trials, prior) - _log_likelihood(successes, trials, share)


def is_ruled_out(successes: int, trials: int, share: float, alpha: float, prior: Prior) -> bool:
    """Whether `share` is outside of the interval."""
    return log_evidence(successes, trials, share, prior) >= -math.log(alpha)


def share_interval(successes: int, trials: int, alpha: float, prior: Prior) -> tuple[float, float]:
    """Lower and upper end of the shares that are not ruled out; (0, 1) without a trial."""
    if not trials:
        return 0.0, 1.0
    observed = successes / trials  # the best supported share, never ruled out
    most = _log_mixture(successes, trials, prior) + math.log(alpha)

    def excluded(share: float) -> bool:
        return _log_likelihood(successes, trials, share) <= most

    lower = 0.0 if successes == 0 else _boundary(0.0, observed, excluded)
    upper = 1.0 if successes == trials else _boundary(1.0, observed, excluded)
    return lower, upper


def _boundary(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Between an excluded and an admitted share: the last one excluded."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2.0
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_mixture(successes: int, trials: int, prior: Prior) -> float:
    """Of the likelihoods of all shares, by the prior."""
    a, b = prior.a + successes, prior.b + trials - successes
    return _log_beta(a, b) - _log_beta(prior.a, prior.b)


def _log_likelihood(successes: int, trials: int, share: float) -> float:
    failures = trials - successes
    if (share <= 0.0 and successes) or (share >= 1.0 and failures):
        return -math.inf
    one = successes * math.log(share) if successes else 0.0
    other = failures * math.log1p(-share) if failures else 0.0
    return one + other


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

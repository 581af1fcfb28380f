"""Whether a canary has to go: it fails more often, is slower, or its rankings are preferred less.

What is concluded holds however often one looks (confidence.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sidecar.config import GuardConfig
from sidecar.pipeline.comparison.confidence import (
    ANY,
    NEAR_ONE_PERCENT,
    is_ruled_out,
    share_interval,
)
from sidecar.pipeline.comparison.durations import Durations
from sidecar.pipeline.comparison.statistics import Answers, Preference
from sidecar.pipeline.variant import PRODUCTION

# Of a canary that is ever taken away for its failures although it fails no more than it may;
# likewise for its times.
GUARD_ALPHA = 0.01
SLOW_SHARE = 0.01  # of answers above their 99th percentile
# Each test of the guard is made of two bounds, and made for both kinds of answers.
_BOUND_ALPHA = GUARD_ALPHA / 4


def reasons(
    kinds: Iterable[tuple[Answers, Answers]],
    preference: Callable[[], Preference],
    guard: GuardConfig,
) -> Iterator[str]:
    """One for each test, "" where it finds nothing. `kinds`: (the canary's, production's) answers
    of each kind."""
    for canary, production in kinds:
        if canary.count >= guard.least_answers:
            yield _too_many_failures(canary, production, guard)
            yield _too_slow(canary, production, guard)
    if guard.interleaving:
        yield _less_preferred(preference())


def _too_many_failures(canary: Answers, production: Answers, guard: GuardConfig) -> str:
    """The canary's share is above production's by more than the margin, as far as the one is at
    least and the other at most."""
    lower, _ = share_interval(canary.failures, canary.count, _BOUND_ALPHA, ANY)
    _, upper = share_interval(production.failures, production.count, _BOUND_ALPHA, ANY)
    if production.count < guard.least_answers:
        upper = min(upper, 0.5)  # a canary that mostly fails goes, whatever production does
    if lower <= upper + guard.failure_margin:
        return ""
    return (
        f"{canary.failures} of its {canary.count} answers failed or were degraded, of "
        f"production's {production.failures} of {production.count}: certainly more than "
        f"guard.failure_margin ({guard.failure_margin:g}) above"
    )


def _too_slow(canary: Answers, production: Answers, guard: GuardConfig) -> str:
    """More than 1 % of the canary's answers took longer than the ratio allows."""
    p99 = _p99_at_most(production.times)
    if not guard.p99_ratio or p99 is None:
        return ""
    limit = p99 * guard.p99_ratio
    slow = canary.times.count_above(limit)
    if slow <= SLOW_SHARE * canary.count or not is_ruled_out(
        slow, canary.count, SLOW_SHARE, _BOUND_ALPHA, NEAR_ONE_PERCENT
    ):
        return ""
    return (
        f"{slow} of its {canary.count} answers took longer than {limit * 1e3:.0f} ms, "
        f"guard.p99_ratio ({guard.p99_ratio:g}) times production's 99th percentile: "
        "certainly more than 1 %"
    )


def _less_preferred(seen: Preference) -> str:
    if seen.winner != PRODUCTION:
        return ""
    return (
        f"of {seen.canary_wins + seen.production_wins} interleaved sessions with a preference "
        f"{seen.production_wins} preferred production's rankings (the canary's share is "
        f"{seen.lower:.3f} to {seen.upper:.3f})"
    )


def _p99_at_most(times: Durations) -> float | None:
    """The least time of which it is certain that no more than 1 % of the answers take longer; None
    while there are too few (some 800).

    Quantiles are bounded by the shares above them: Howard and Ramdas, "Sequential Estimation of
    Quantiles with Applications to A/B Testing and Best-Arm Identification", Bernoulli 28(3), 2022.
    """
    least = None
    for seconds, above in times.longest_first():
        certain = above < SLOW_SHARE * times.count and is_ruled_out(
            above, times.count, SLOW_SHARE, _BOUND_ALPHA, NEAR_ONE_PERCENT
        )
        if not certain:
            break
        least = seconds
    return least

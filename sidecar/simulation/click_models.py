"""How users click a ranking: which ranks they look at, and which of those they follow.

A model is given the relevance of each shown hit, in the order shown: the probability, 0 to 1, that
a user who looks at the hit finds it worth a click (`attractiveness` makes it of a grade).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class ClickModel(Protocol):
    """One user population. Immutable; all randomness is the caller's."""

    def clicks(self, relevances: Sequence[float], source: random.Random) -> list[bool]:
        """Whether each hit is clicked, drawn once."""

    def examinations(self, relevances: Sequence[float]) -> list[float]:
        """The probability that each rank is looked at: its propensity."""

    def click_probabilities(self, relevances: Sequence[float]) -> list[float]:
        """The probability that each hit is clicked."""


def attractiveness(grade: int, highest: int, noise: float = 0.05) -> float:
    """noise + (1 - noise) (2^grade - 1) / (2^highest - 1): the probability that a hit of a grade is
    found worth a click, `noise` for grade 0 and 1 for the highest.

    Source: Chapelle, Metzler, Zhang, Grinspan, "Expected Reciprocal Rank for Graded Relevance"
    (CIKM 2009), equation 3, with clicks on irrelevant hits as in Joachims, Swaminathan, Schnabel
    (WSDM 2017), section 6.1.
    """
    share = float((1 << max(grade, 0)) - 1) / ((1 << max(highest, 1)) - 1)
    return noise + (1.0 - noise) * min(share, 1.0)


@dataclass(frozen=True, slots=True)
class PositionBased:
    """PBM: rank k is looked at with probability k^-steepness, whatever the hits are.

        P(C_k) = k^-steepness r_k

    Source: the examination hypothesis as in Craswell, Zoeter, Taylor, Ramsey, "An Experimental
    Comparison of Click Position-Bias Models" (WSDM 2008); its shape after Joachims, Swaminathan,
    Schnabel (WSDM 2017).
    """

    steepness: float = 1.0

    def clicks(self, relevances: Sequence[float], source: random.Random) -> list[bool]:
        """Each by itself."""
        return _each(self.click_probabilities(relevances), source)

    def examinations(self, relevances: Sequence[float]) -> list[float]:
        """k^-steepness."""
        return [rank**-self.steepness for rank in range(1, len(relevances) + 1)]

    def click_probabilities(self, relevances: Sequence[float]) -> list[float]:
        """P(C_k)."""
        seen = self.examinations(relevances)
        return [e * r for e, r in zip(seen, relevances, strict=True)]


@dataclass(frozen=True, slots=True)
class DependentClick:
    """DCM: from the top down; after a click the user goes on with probability `continuation`.

        P(E_1) = 1,  P(E_k+1) = P(E_k) (1 - r_k + continuation r_k),  P(C_k) = P(E_k) r_k

    Source: Guo, Liu, Wang, "Efficient Multiple-Click Models in Web Search" (WSDM 2009), section 4,
    with one lambda for all ranks.
    """

    continuation: float = 0.6

    def clicks(self, relevances: Sequence[float], source: random.Random) -> list[bool]:
        """Drawn from the top down."""
        clicked, looking = [], True
        for relevance in relevances:
            # Two draws a rank, come what may: what is drawn below is not shifted by a click.
            follows, goes_on = source.random() < relevance, source.random() < self.continuation
            clicked.append(looking and follows)
            looking = looking and (goes_on or not follows)
        return clicked

    def examinations(self, relevances: Sequence[float]) -> list[float]:
        """P(E_k)."""
        seen, probability = [], 1.0
        for relevance in relevances:
            seen.append(probability)
            probability *= 1.0 - relevance + self.continuation * relevance
        return seen

    def click_probabilities(self, relevances: Sequence[float]) -> list[float]:
        """P(C_k)."""
        seen = self.examinations(relevances)
        return [e * r for e, r in zip(seen, relevances, strict=True)]


@dataclass(frozen=True, slots=True)
class Cascade:
    """From the top down to the first click, which ends it.

        P(C_k) = r_k prod_{i<k} (1 - r_i)

    Source: Craswell, Zoeter, Taylor, Ramsey (WSDM 2008), section 3.4. The DCM with no continuation.
    """

    def clicks(self, relevances: Sequence[float], source: random.Random) -> list[bool]:
        """At most one."""
        return DependentClick(0.0).clicks(relevances, source)

    def examinations(self, relevances: Sequence[float]) -> list[float]:
        """The probability that nothing above was clicked."""
        return DependentClick(0.0).examinations(relevances)

    def click_probabilities(self, relevances: Sequence[float]) -> list[float]:
        """P(C_k)."""
        return DependentClick(0.0).click_probabilities(relevances)


@dataclass(frozen=True, slots=True)
class TrustBias:
    """PBM whose users take a high rank for a sign of relevance.

        P(C_k) = k^-steepness (trusted_k r_k + mistaken_k (1 - r_k))

    `trusted_k`, the probability that a relevant hit that is looked at is clicked, is
    1 - (k + 1) / 100, `mistaken_k`, that of an irrelevant one, `mistake` / k; k is 20 and 10 at
    most in them.

    Source: Agarwal, Wang, Li, Bendersky, Najork, "Addressing Trust Bias for Unbiased Learning-to-
    Rank" (WWW 2019), equation 3; the shapes are those that Vardasbi, Oosterhuis, de Rijke (CIKM
    2020) simulate after its figures.
    """

    steepness: float = 1.0
    mistake: float = 0.65

    def clicks(self, relevances: Sequence[float], source: random.Random) -> list[bool]:
        """Each by itself."""
        return _each(self.click_probabilities(relevances), source)

    def examinations(self, relevances: Sequence[float]) -> list[float]:
        """k^-steepness."""
        return PositionBased(self.steepness).examinations(relevances)

    def click_probabilities(self, relevances: Sequence[float]) -> list[float]:
        """P(C_k)."""
        probabilities = []
        for rank, seen in enumerate(self.examinations(relevances), start=1):
            relevance = relevances[rank - 1]
            trusted, mistaken = 1 - (min(rank, 20) + 1) / 100, self.mistake / min(rank, 10)
            probabilities.append(seen * (trusted * relevance + mistaken * (1 - relevance)))
        return probabilities


CLICK_MODELS: dict[str, ClickModel] = {
    "pbm": PositionBased(),
    "cascade": Cascade(),
    "dcm": DependentClick(),
    "trust": TrustBias(),
}


def _each(probabilities: Sequence[float], source: random.Random) -> list[bool]:
    return [source.random() < probability for probability in probabilities]

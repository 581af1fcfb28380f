"""How the carried models are made: every number that is not the method, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.carried.train import Budgets, Plan


def _by_source(scifact: int, esci_us_small: int) -> Mapping[str, int]:
    return field(default_factory=lambda: {"scifact": scifact, "esci_us_small": esci_us_small})


@dataclass(frozen=True, slots=True)
class Recipe:
    """`queries` are made for each document of a source, `made` in all over a set's documents.

    Tokens are those kept of a passage; `judged_rounds` is how often a judged query is listed.
    """

    python_documents: int = 11_000
    python_documents_per_package: int = 700
    vocabulary_size: int = 23_000
    queries: Mapping[str, int] = field(
        default_factory=lambda: {"scifact": 3, "esci_us_small": 2, "python": 1}
    )
    made: Mapping[str, int] = _by_source(3500, 3000)
    candidates: int = 200
    list_size: int = 8
    passage_tokens: int = 60
    document_tokens: Mapping[str, int] = _by_source(205, 128)
    judged_rounds: Mapping[str, int] = _by_source(6, 30)
    held_share: float = 0.25
    layers: int = 6
    first_depth: int = 100
    second_depth: int = 50
    budgets: Budgets = field(default_factory=Budgets)
    distil: Plan = field(
        default_factory=lambda: Plan(
            steps=600, shares=(16,), rate=2.5e-4, teacher_weight=0.2, gains_weight=0.25
        )
    )
    refine: Plan = field(
        default_factory=lambda: Plan(
            steps=450, shares=(4, 4, 2, 4, 2), rate=1.5e-4, teacher_weight=0.2, gains_weight=0.5
        )
    )

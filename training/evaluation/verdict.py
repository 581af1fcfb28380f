"""What the gate answers: one check a question, and the verdict over all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACCEPTED, REFUSED = 0, 10


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate, its answer, and the reason in words."""

    name: str
    passed: bool
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks; accepted if all of them passed."""

    checks: tuple[Check, ...]

    @property
    def accepted(self) -> bool:
        """Whether the candidate may be published."""
        return all(check.passed for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 or 10."""
        return ACCEPTED if self.accepted else REFUSED

    @property
    def reason(self) -> str:
        """What was against it, or for it where nothing was."""
        against = [check.reason for check in self.checks if not check.passed]
        return "; ".join(against or [check.reason for check in self.checks])

    def to_json(self) -> str:
        """One object: verdict, exit_code, reason, checks. Figures that are not finite are null."""
        told = {
            "verdict": "accepted" if self.accepted else "refused",
            "exit_code": self.exit_code,
            "reason": self.reason,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "reason": check.reason,
                    "figures": {name: _finite(value) for name, value in check.figures.items()},
                }
                for check in self.checks
            ],
        }
        return json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

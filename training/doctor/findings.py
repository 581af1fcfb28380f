"""One line of what the doctor says."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # the run goes on without, or slower
    FAIL = "fail"  # the run would stop


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: what was looked at; `told`: what was seen; `advice`: what to do, if anything."""

    level: Level
    about: str
    told: str
    advice: str = ""

    def __str__(self) -> str:
        """For people."""
        line = f"{self.level:5}{self.about}: {self.told}"
        return f"{line}; {self.advice}" if self.advice else line


def ok(about: str, told: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, about, told)


def warn(about: str, told: str, advice: str) -> Finding:
    """Something to know."""
    return Finding(Level.WARN, about, told, advice)


def fail(about: str, told: str, advice: str) -> Finding:
    """Something to mend."""
    return Finding(Level.FAIL, about, told, advice)


def stops(findings: Iterable[Finding]) -> bool:
    """Whether the run would stop."""
    return any(finding.level is Level.FAIL for finding in findings)

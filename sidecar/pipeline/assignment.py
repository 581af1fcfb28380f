"""Which variant answers a session: pure, stable per session, drawn anew for each canary."""

from __future__ import annotations

import enum
import hashlib
import uuid
from dataclasses import dataclass


class Route(enum.Enum):
    """Who answers."""

    PRODUCTION = enum.auto()
    CANARY = enum.auto()
    INTERLEAVED = enum.auto()


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the sessions, 0 to 1, that add up to 1 at most; production has the rest.

    `salt` tells one experiment from the next: the same sessions are not always the ones that try.
    """

    canary: float = 0.0
    interleaved: float = 0.0
    salt: str = ""


NO_CANARY = Shares()


def route_of(session: str, shares: Shares) -> Route:
    """The route of a session; "" is a session of its own each time."""
    point = _point(session or uuid.uuid4().hex, shares.salt)
    if point < shares.canary:
        return Route.CANARY
    return Route.INTERLEAVED if point < shares.canary + shares.interleaved else Route.PRODUCTION


def _point(session: str, salt: str) -> float:
    """Uniform in [0, 1) over sessions."""
    digest = hashlib.blake2b(session.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return (int.from_bytes(digest) >> 11) / 2**53  # a float has 53 bits: never rounded up to 1

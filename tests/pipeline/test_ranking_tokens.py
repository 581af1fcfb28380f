"""Tokens: what they say, who can make them, and that nobody else can."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.feedback_types import EventRefusal
from sidecar.pipeline.ranking_tokens import RankingToken, RankingTokens, TokenRefusedError

SECRET = b"0123456789abcdef"
ID = bytes(range(16))
MICROSECONDS = 1_790_000_000_123_456
# Tokens are out in the world for a week: this one has to be good in every later version.
TOKEN = "AQABAgMEBQYHCAkKCwwNDg8ABlv-2ifCQKzol0R4yWtR96N7l8DUEXQ"
FORGED, MALFORMED = EventRefusal.FORGED_TOKEN, EventRefusal.MALFORMED_TOKEN


def refusal_of(token: str, secret: bytes = SECRET) -> EventRefusal:
    with pytest.raises(TokenRefusedError) as refused:
        RankingTokens(secret).read(token)
    return refused.value.refusal


def by_hand(secret: bytes, version: int, impression_id: bytes, microseconds: int) -> str:
    """A token after the description, without the sidecar's code."""
    content = bytes([version]) + impression_id + microseconds.to_bytes(8, "big")
    key = hmac.new(secret, b"sidecar ranking token", hashlib.sha256).digest()
    mac = hmac.new(key, content, hashlib.sha256).digest()[:16]
    return base64.b64encode(content + mac, b"-_").decode().rstrip("=")


def test_tokens_are_as_described() -> None:
    token = RankingTokens(SECRET).sign(ID, MICROSECONDS)
    assert token == by_hand(SECRET, 1, ID, MICROSECONDS) == TOKEN


@given(
    secret=st.binary(max_size=80),
    number=st.binary(min_size=16, max_size=16),
    at=st.integers(0, 2**63),
)
def test_what_is_signed_is_read_back(secret: bytes, number: bytes, at: int) -> None:
    tokens = RankingTokens(secret)
    assert tokens.read(tokens.sign(number, at)) == RankingToken(number.hex(), at / 1e6)


def test_servers_that_share_the_secret_take_one_anothers() -> None:
    assert RankingTokens(SECRET).read(TOKEN) == RankingToken(ID.hex(), MICROSECONDS / 1e6)
    assert refusal_of(TOKEN, b"another secret!!") is FORGED


@pytest.mark.parametrize("position", range(0, 41))
def test_no_byte_can_be_changed(position: int) -> None:
    signed = bytearray(base64.urlsafe_b64decode(TOKEN + "="))
    signed[position] ^= 1
    changed = base64.urlsafe_b64encode(signed).decode().rstrip("=")
    assert refusal_of(changed) is (MALFORMED if position == 0 else FORGED)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN + "=",
        TOKEN[:-1] + "R",  # the same bytes, but not as they are written
        " " + TOKEN,
        TOKEN.replace("-", "+").replace("_", "/"),
        "ä" * 55,
        "\0" * 55,
        "A" * 100_000,
    ],
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert refusal_of(token) is MALFORMED


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    assert refusal_of(text) in (MALFORMED, FORGED)


def test_another_version_is_not_read() -> None:
    assert refusal_of(by_hand(SECRET, 2, ID, MICROSECONDS)) is MALFORMED


def test_hashes_of_ids() -> None:
    tokens = RankingTokens(SECRET)
    hashed = tokens.hash_id("user", "anna@example.org")
    assert len(hashed) == 32
    assert hashed == RankingTokens(SECRET).hash_id("user", "anna@example.org")
    others = {
        tokens.hash_id("session", "anna@example.org"),
        tokens.hash_id("user", "Anna@example.org"),
        RankingTokens(b"another secret!!").hash_id("user", "anna@example.org"),
        hashlib.sha256(b"anna@example.org").hexdigest()[:32],
    }
    assert hashed not in others
    assert len(others) == 4
    assert tokens.hash_id("user", "") == ""

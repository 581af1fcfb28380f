"""Signed tokens that name impressions, and salted hashes of who they were for.

A token is base64url, without padding, of

    version (1 byte, 1) | impression id (16) | time of the answer (8, microseconds) | MAC (16)

numbers big-endian, the MAC a HMAC-SHA256 of what is before it, cut to 16 bytes (RFC 2104, section
5). Servers that share the secret take one another's. A token says nothing of the user, nor of the
ranking.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass

from sidecar.feedback_types import EventRefusal

VERSION = 1
ID_BYTES = 16
MAC_BYTES = 16
HASH_BYTES = 16
_CONTENT = struct.Struct(f">B{ID_BYTES}sQ")
TOKEN_BYTES = _CONTENT.size + MAC_BYTES
TOKEN_CHARACTERS = -(-4 * TOKEN_BYTES // 3)  # base64 without padding
MICROSECONDS = 1_000_000


class TokenRefusedError(Exception):
    """A token that is none of ours. `refusal`: MALFORMED_TOKEN or FORGED_TOKEN."""

    def __init__(self, refusal: EventRefusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class RankingToken:
    """What a token says: the impression's id, 32 hex digits, and when it was answered, in seconds
    since the epoch."""

    impression_id: str
    answered: float


class RankingTokens:
    """Signs and reads tokens, and hashes ids, by keys derived from one secret."""

    def __init__(self, secret: bytes) -> None:
        self._token_key = hmac.digest(secret, b"sidecar ranking token", "sha256")
        self._visitor_key = hmac.digest(secret, b"sidecar visitor", "sha256")

    def sign(self, impression_id: bytes, microseconds: int) -> str:
        """The token of an impression that is answered so many microseconds after the epoch."""
        content = _CONTENT.pack(VERSION, impression_id, microseconds)
        signed = content + self._mac(content)
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")

    def read(self, token: str) -> RankingToken:
        """What a token says. Raises TokenRefusedError."""
        signed = _decode(token)
        content, mac = signed[: _CONTENT.size], signed[_CONTENT.size :]
        version, impression_id, microseconds = _CONTENT.unpack(content)
        if version != VERSION:
            raise _malformed(f"is of version {version}, this server reads {VERSION}")
        if not hmac.compare_digest(mac, self._mac(content)):
            raise TokenRefusedError(
                EventRefusal.FORGED_TOKEN,
                "was not signed by this server: servers that take one another's events need the "
                "same feedback.secret",
            )
        return RankingToken(impression_id.hex(), microseconds / MICROSECONDS)

    def hash_id(self, kind: str, visitor_id: str) -> str:
        """A salted hash of the id of a user or a session (`kind`): 32 hex digits; "" of ""."""
        if not visitor_id:
            return ""
        text = f"{kind}\0{visitor_id}".encode()
        return hmac.digest(self._visitor_key, text, "sha256")[:HASH_BYTES].hex()

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._token_key, content, "sha256")[:MAC_BYTES]


def _decode(token: str) -> bytes:
    """The bytes of a token, which can be written in one way only."""
    if not token:
        raise _malformed("is empty: give the ranking_token of the ranking that was shown")
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        signed = base64.b64decode(padded, b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("is not base64url") from None
    if len(signed) != TOKEN_BYTES:
        raise _malformed(f"has {len(signed)} bytes, not {TOKEN_BYTES}: it was cut, or is none")
    if base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii") != token:
        raise _malformed("is not written as it was given")
    return signed


def _malformed(message: str) -> TokenRefusedError:
    return TokenRefusedError(EventRefusal.MALFORMED_TOKEN, message)

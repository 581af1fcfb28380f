"""Personal data in queries: what is found by its form, and thus left out of training.

Found: e-mail addresses; telephone numbers of 8 to 15 digits (E.164 allows 15) that begin with + or
00 or are grouped as such numbers are; card numbers, 13 to 19 digits whose Luhn check digit is right
(ISO/IEC 7812-1); bank accounts, a country and 13 to 32 characters whose check digits are right by
mod 97 (ISO 13616, IBAN).

Not found: names, postal addresses, dates of birth, user names, passwords, national identity numbers
and whatever else has no check digit or form of its own; telephone numbers typed as one run of
digits without a prefix, which part numbers look like, too. One bar code in ten has the check digit
of a card, and is left out with it. A query log that may hold
those needs to be looked through by other means before models are trained on it.
"""

from __future__ import annotations

import re
import unicodedata

_SHORTEST_ACCOUNT = 15
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")
# In one run, or in groups of four as ISO 13616 prints them.
_ACCOUNT = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)"
    r"(?![A-Z0-9])",
    re.IGNORECASE,
)
_PREFIXED = re.compile(r"(?<![\w+.])(?:\+|00) ?[1-9](?:[ ./()-]{0,2}\d){7,13}(?!\d)")
# Grouped: (030) 1234 5678, 030/1234567, 555-123-4567; with a zero or brackets, or three-three-four.
_GROUPED = re.compile(
    r"(?<![\w.-])(?:\(0?\d{2,4}\)[ ./-]?\d{3,4}[ ./-]?\d{3,5}"
    r"|0[1-9]\d{1,3}[ /-]\d{3,4}[ -]?\d{3,5}"
    r"|\d{3}[ .-]\d{3}[ .-]\d{4})(?![\w-])"
)


def personal(query: str) -> str:
    """What kind of personal data is in a query: "e-mail", "card", "account", "telephone"; "" for
    none that can be told."""
    text = unicodedata.normalize("NFKC", query)
    if _EMAIL.search(text):
        return "e-mail"
    if any(luhn_holds(_digits(match[0])) for match in _CARD.finditer(text)):
        return "card"
    if any(_begins_with_account(match[0]) for match in _ACCOUNT.finditer(text)):
        return "account"
    if _PREFIXED.search(text) or _GROUPED.search(text):
        return "telephone"
    return ""


def luhn_holds(digits: str) -> bool:
    """Every second digit from the right doubled, its digits summed: a multiple of 10. All zeros
    are no number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total > 0 and total % 10 == 0


def mod_97_holds(account: str) -> bool:
    """The country and check digits moved behind, letters as 10 to 35: 1 modulo 97."""
    plain = "".join(account.split()).upper()
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _begins_with_account(text: str) -> bool:
    """What follows an account may look like another group of it."""
    groups = text.split()
    heads = ("".join(groups[:count]) for count in range(1, len(groups) + 1))
    return any(mod_97_holds(head) for head in heads if len(head) >= _SHORTEST_ACCOUNT)


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())

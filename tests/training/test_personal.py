"""Personal data by its form, and what only looks like it. Numbers are those that the standards and
card networks publish for tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.personal import luhn_holds, mod_97_holds, personal


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("invoice for ann.lee+x@mail.example.co.uk please", "e-mail"),
        ("ａｎｎ＠example.org", "e-mail"),
        ("4111 1111 1111 1111", "card"),
        ("card 5555-5555-5555-4444 declined", "card"),
        ("378282246310005", "card"),
        ("GB82 WEST 1234 5698 7654 32", "account"),
        ("transfer to DE89370400440532013000 today", "account"),
        ("de89 3704 0044 0532 0130 00 bank", "account"),
        ("+49 30 123456-78", "telephone"),
        ("call 0044 20 7946 0958", "telephone"),
        ("(030) 1234 5678", "telephone"),
        ("030/1234567", "telephone"),
        ("555-867-5309", "telephone"),
    ],
)
def test_found(query: str, kind: str) -> None:
    assert personal(query) == kind


@pytest.mark.parametrize(
    "query",
    [
        "red shoes size 42",
        "4111 1111 1111 1112",  # a wrong check digit
        "GB82 WEST 1234 5698 7654 33",
        "isbn 9783161484101",
        "dw20 cordless drill kit combo",
        "2 x 4 x 96 pine",
        "iphone 15 pro 256gb @ best price",
        "2024-11-21 12:30",
        "1/2 in. x 3/4 in. x 100 ft",
        "part 0123456789",
        "3.14159265358979",
        "0000 0000 0000 0000",
        "手机壳 透明 15",
    ],
)
def test_not_found(query: str) -> None:
    assert personal(query) == ""


@given(st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_one_digit_in_ten_is_a_check_digit(digits: str) -> None:
    right = [last for last in "0123456789" if luhn_holds(digits + last)]
    assert len(right) == (1 if digits.strip("0") else 0)


@given(st.text(alphabet="0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=11, max_size=30))
def test_check_digits_as_iso_makes_them(account: str) -> None:
    moved = int("".join(str(int(letter, 36)) for letter in f"{account}DE00"))
    made = f"DE{98 - moved % 97:02d}{account}"
    assert mod_97_holds(made)
    assert personal(f"pay {made} now") in ("account", "card")

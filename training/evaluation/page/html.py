"""HTML from Python calls. Text is escaped wherever it is not Markup, which only this makes."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

MINUS, DASH = "−", "–"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_WITHOUT_END = {"input", "meta"}


class Markup(str):
    """HTML that needs no escaping any more."""

    __slots__ = ()


def markup(text: object) -> Markup:
    """Escaped unless it is Markup; characters that HTML cannot hold are replaced."""
    return text if isinstance(text, Markup) else Markup(_escaped(text))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """<name attributes>children</name>. `class_` is class, `_` in other names is `-`; an attribute
    that is None is left out; a child that is None as well."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _WITHOUT_END:
        return Markup(f"<{name}{told}>")
    inner = "".join(markup(child) for child in children if child is not None)
    return Markup(f"<{name}{told}>{inner}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """One after the other."""
    return Markup(_escaped(between).join(markup(part) for part in parts if part is not None))


def table(
    caption: str, head: Sequence[object], rows: Iterable[Sequence[object]], numbers_from: int = 1
) -> Markup:
    """The first cell of a row is its header; columns from `numbers_from` on are numbers."""

    def kind(column: int) -> str | None:
        return "number" if column >= numbers_from else None

    titles = [element("th", each, scope="col", class_=kind(at)) for at, each in enumerate(head)]
    lines = []
    for row in rows:
        first, *others = row
        cells = [element("td", each, class_=kind(at)) for at, each in enumerate(others, start=1)]
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *titles)),
        element("tbody", *lines),
    )
    # A wide table scrolls by itself, also by keys.
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def definitions(pairs: Iterable[tuple[object, object]]) -> Markup:
    """Names and what they are."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", told)) for name, told in pairs),
    )


def notes(told: Sequence[str]) -> Markup | None:
    """What a reader has to know before believing a figure."""
    return element("ul", *(element("li", each) for each in told), class_="notes") if told else None


def tree(value: Any, depth: int = 0) -> Markup:
    """Plain values of a report, as nested definitions; long lists are cut and say so."""
    if isinstance(value, dict):
        if not value:
            return markup(DASH)
        rows = [(_words(name), tree(each, depth + 1)) for name, each in value.items()]
        return definitions(rows)
    if isinstance(value, list):
        if all(isinstance(each, str) and len(each) > 40 for each in value) and value:
            return element("ul", *(element("li", each) for each in value))
        shown = [number(each) if isinstance(each, float) else str(each) for each in value[:12]]
        more = f" and {len(value) - 12} more" if len(value) > 12 else ""
        return markup((", ".join(shown) or DASH) + more)
    if isinstance(value, bool) or value is None:
        return markup({True: "yes", False: "no", None: DASH}[value])
    return markup(number(value) if isinstance(value, int | float) else value)


def number(value: float | None, digits: int = 4) -> str:
    """For people: counts with thousands apart, others with `digits`; a dash for none."""
    if value is None or not math.isfinite(value):
        return DASH
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 4) -> str:
    """With its sign; 0 has none."""
    if value is None or not math.isfinite(value):
        return DASH
    told = f"{value:+.{digits}f}".replace("-", MINUS)
    return told[1:] if not any(digit in "123456789" for digit in told) else told


def percent(value: float | None, digits: int = 1) -> str:
    """A share as it changed."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:+.{digits}%}".replace("-", MINUS)


def p_value(p: float | None) -> str:
    """ "< .001" where it is less."""
    if p is None or not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _escaped(text: object) -> str:
    return html.escape(_CONTROL.sub("\ufffd", str(text)))


def _words(name: str) -> str:
    return name.replace("_", " ")

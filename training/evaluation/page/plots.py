"""Plots as SVG inside the page: intervals, sorted differences, curves, propensities by rank.

Colours come from the page's style, so that they are right on light, dark and paper. Every plot is
an image with a title and a sentence that says what it shows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.evaluation.page.html import Markup, element, joined, markup, number, signed

WIDTH = 760
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of an interval plot: a value, its bounds (None: not known), a name, a remark."""

    name: str
    value: float
    low: float | None
    high: float | None
    remark: str = ""
    strong: bool = False  # filled: it is no chance


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places in the plot."""

    least: float
    most: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Kept inside."""
        share = (value - self.least) / ((self.most - self.least) or 1.0)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 2)

    def ticks(self, about: int = 5) -> Iterator[float]:
        """Round numbers, about so many."""
        step = round_step((self.most - self.least) / about)
        first = math.ceil(self.least / step - 1e-9)
        for count in range(first, math.floor(self.most / step + 1e-9) + 1):
            yield count * step


def round_step(width: float) -> float:
    """1, 2 or 5 times a power of ten, the next above."""
    if width <= 0 or not math.isfinite(width):
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next(each * power for each in (1.0, 2.0, 5.0, 10.0) if each * power >= width * 0.999)


def interval_plot(
    rows: Sequence[Interval], title: str, told: str, around_zero: bool = True
) -> Markup:
    """A row a value, with its bounds; `around_zero`: differences, with a line at none."""
    left, right, height = 190, 170, 30
    bounds = [each for row in rows for each in (row.low, row.high, row.value) if each is not None]
    least, most = min(bounds, default=0.0), max(bounds, default=1.0)
    if around_zero:
        least, most = min(least, 0.0), max(most, 0.0)
    room = (most - least or abs(most) or 1.0) * 0.06
    scale = Scale(least - room, most + room, left, WIDTH - right)
    bottom = height * len(rows) + 8
    parts = [*_vertical_axis_lines(scale, bottom, around_zero)]
    for place, row in enumerate(rows):
        parts += _interval_row(row, scale, place * height + height / 2 + 4, around_zero)
    return _figure(title, told, bottom + 26, parts)


def difference_plot(differences: Sequence[float], title: str, told: str) -> Markup:
    """Every query's difference, the largest first: above the line better, below worse."""
    height, left = 220, 60
    ordered = sorted(differences, reverse=True)
    most = max([abs(each) for each in ordered] or [0.0]) or 1.0
    down = Scale(-most, most, height - 24, 12)
    along = Scale(0, max(len(ordered), 1), left, WIDTH - 10)
    zero = down.at(0.0)
    parts = [
        joined(
            (
                _line(left, down.at(tick), WIDTH - 10, down.at(tick), "grid"),
                _text(left - 8, down.at(tick) + 4, signed(tick, 2), "tick", "end"),
            )
        )
        for tick in down.ticks(4)
    ]
    parts += [
        _area(ordered, along, down, sign, kind) for sign, kind in ((1, "better"), (-1, "worse"))
    ]
    parts.append(_line(left, zero, WIDTH - 10, zero, "axis"))
    parts += [
        _text(along.at(tick), height - 6, number(round(tick)), "tick", "middle")
        for tick in along.ticks(6)
        if abs(tick - round(tick)) < 1e-9
    ]
    return _figure(title, told, height, parts)


def curve_plot(
    points: Sequence[Point],
    title: str,
    told: str,
    name: str,
    level: tuple[float, str] | None = None,
    marked: float | None = None,
    smooth: int = 1,
) -> Markup:
    """A value over steps; `level`: a horizontal line with a name; `marked`: the step of a ring."""
    height, left = 220, 66
    values = [value for _, value in points] + ([level[0]] if level else [])
    least, most = min(values, default=0.0), max(values, default=1.0)
    room = (most - least or abs(most) or 1.0) * 0.08
    along = Scale(0, max([step for step, _ in points] or [1.0]), left, WIDTH - 14)
    down = Scale(least - room, most + room, height - 40, 12)
    parts = [
        joined(
            (
                _line(left, down.at(tick), WIDTH - 14, down.at(tick), "grid"),
                _text(left - 8, down.at(tick) + 4, f"{tick:.3g}", "tick", "end"),
            )
        )
        for tick in down.ticks(4)
    ]
    parts += [
        _text(along.at(tick), height - 22, number(round(tick)), "tick", "middle")
        for tick in along.ticks(6)
        if abs(tick - round(tick)) < 1e-9
    ]
    parts.append(_text((left + WIDTH - 14) / 2, height - 5, f"step ({name})", "tick", "middle"))
    if level:
        at = down.at(level[0])
        parts.append(_line(left, at, WIDTH - 14, at, "level"))
        parts.append(_text(WIDTH - 16, at - 5, level[1], "tick", "end"))
    if smooth > 1 and len(points) > 2 * smooth:
        parts.append(_path(points, along, down, "curve faint"))
        points = _smoothed(points, smooth)
    parts.append(_path(points, along, down, "curve"))
    if len(points) <= 40:
        parts += [_dot(along.at(step), down.at(value), "dot", 3) for step, value in points]
    parts += [
        _dot(along.at(step), down.at(value), "ring", 6) for step, value in points if step == marked
    ]
    return _figure(title, told, height, parts)


def propensity_plot(
    values: Sequence[float],
    bounds: Sequence[tuple[float, float] | None],
    identified: Sequence[bool],
    title: str,
    told: str,
) -> Markup:
    """By rank, with bounds; hollow where the log does not identify it."""
    height, left = 220, 60
    highs = [pair[1] for pair in bounds if pair] + list(values)
    down = Scale(0.0, max([1.0, *(min(each, 1.5) for each in highs)]), height - 40, 12)
    along = Scale(0.5, len(values) + 0.5, left, WIDTH - 14)
    parts = [
        joined(
            (
                _line(left, down.at(tick), WIDTH - 14, down.at(tick), "grid"),
                _text(left - 8, down.at(tick) + 4, f"{tick:.1f}", "tick", "end"),
            )
        )
        for tick in down.ticks(5)
    ]
    known = [(rank + 1.0, value) for rank, value in enumerate(values)]
    parts.append(_path(known, along, down, "curve faint"))
    for (rank, value), pair, sure in zip(known, bounds, identified, strict=True):
        x = along.at(rank)
        if pair:
            parts.append(_line(x, down.at(pair[0]), x, down.at(pair[1]), "whisker"))
        parts.append(_dot(x, down.at(value), "dot" if sure else "hollow", 4.5))
        parts.append(_text(x, height - 22, f"{int(rank)}", "tick", "middle"))
    parts.append(_text((left + WIDTH - 14) / 2, height - 5, "rank", "tick", "middle"))
    return _figure(title, told, height, parts)


def _interval_row(row: Interval, scale: Scale, y: float, around_zero: bool) -> list[Markup]:
    tone = (
        "" if not around_zero else " better" if row.value > 0 else " worse" if row.value < 0 else ""
    )
    parts = [_text(0, y + 4, row.name, "label", "start")]
    if row.low is not None and row.high is not None:
        parts.append(_line(scale.at(row.low), y, scale.at(row.high), y, f"whisker{tone}"))
    shape = "dot" if row.strong or not around_zero else "hollow"
    parts.append(_dot(scale.at(row.value), y, f"{shape}{tone}", 5))
    parts.append(_text(WIDTH, y + 4, row.remark, "tick", "end"))
    return parts


def _vertical_axis_lines(scale: Scale, bottom: float, around_zero: bool) -> Iterator[Markup]:
    for tick in scale.ticks():
        x = scale.at(tick)
        is_zero = around_zero and abs(tick) < 1e-12
        yield _line(x, 0, x, bottom, "axis" if is_zero else "grid")
        told = signed(tick, _digits(scale)) if around_zero else f"{tick:.{_digits(scale)}f}"
        yield _text(x, bottom + 18, told, "tick", "middle")


def _digits(scale: Scale) -> int:
    step = round_step((scale.most - scale.least) / 5)
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _area(ordered: Sequence[float], along: Scale, down: Scale, sign: int, kind: str) -> Markup:
    """Steps from the line to each value of one sign; no more points than can be seen."""
    kept = [(place, each) for place, each in enumerate(ordered) if each * sign > 0]
    if not kept:
        return Markup("")
    zero = down.at(0.0)
    outline = [f"M{along.at(kept[0][0])} {zero}"]
    for place, each in kept:
        outline.append(f"V{down.at(each)}H{along.at(place + 1)}")
    outline.append(f"V{zero}Z")
    return element("path", d="".join(outline), class_=f"area {kind}")


def _smoothed(points: Sequence[Point], width: int) -> list[Point]:
    """Running means."""
    found = []
    for place, (step, _) in enumerate(points):
        part = [value for _, value in points[max(0, place - width + 1) : place + 1]]
        found.append((step, sum(part) / len(part)))
    return found


def _path(points: Sequence[Point], along: Scale, down: Scale, kind: str) -> Markup:
    places = [f"{along.at(step)} {down.at(value)}" for step, value in points]
    return element("path", d=f"M{' L'.join(places)}" if places else "M0 0", class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(x: float, y: float, kind: str, radius: float) -> Markup:
    return element("circle", cx=x, cy=y, r=radius, class_=kind)


def _text(x: float, y: float, told: str, kind: str, anchor: str) -> Markup:
    return element("text", told, x=x, y=y, class_=kind, text_anchor=anchor)


def _figure(title: str, told: str, height: float, parts: Sequence[Markup]) -> Markup:
    """The image, named for those who do not see it, and its caption for those who do."""
    mark = "plot-" + hashlib.blake2b(f"{title} {told}".encode(), digest_size=6).hexdigest()
    drawn = element(
        "svg",
        element("title", title, id=f"{mark}-title"),
        element("desc", told, id=f"{mark}-told"),
        *parts,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{mark}-title {mark}-told",
    )
    return element(
        "figure", drawn, element("figcaption", element("strong", title), markup(" "), told)
    )

"""Reads a report page as strictly as a browser is lenient."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "img", "link"}
LOADS = {"src", "srcset", "action", "formaction", "data", "poster", "background"}


@dataclass
class Page:
    """`faults`: tags that do not match, ids twice, links to nowhere; `outside`: what it loads."""

    text: str = ""
    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    scripts: int = 0
    tags: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page, self._open = Page(), []
        self._ids: list[str] = []
        self._links: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.page.tags.append(tag)
        self.page.scripts += tag == "script"
        for name, value in attrs:
            if name in LOADS or (name == "href" and not value.startswith("#")):
                self.page.outside.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.page.faults.append(f"{tag} {name}")
            if name == "href":
                self._links.append(value.removeprefix("#"))
            if name == "id":
                self._ids.append(value)
            if name == "aria-labelledby":
                self._links += value.split()
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag) -> None:
        if not self._open or self._open.pop() != tag:
            self.page.faults.append(f"</{tag}>")

    def handle_data(self, data) -> None:
        if self._open and self._open[-1] == "style":
            self.page.outside += re.findall(r"@import[^;]*|url\([^)]*\)", data)
        if not self._open or self._open[-1] not in ("style", "script"):
            self.page.text += data

    def close(self) -> None:
        super().close()
        self.page.faults += self._open
        self.page.faults += [each for each in set(self._ids) if self._ids.count(each) > 1]
        self.page.faults += [f"#{each}" for each in self._links if each not in self._ids]


def read_page(text: str) -> Page:
    """Parsed to its end."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.page

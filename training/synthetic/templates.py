"""Templates: patterns with slots, and what the slots can be filled with.

name = "..."
key = ["product"]                        slots that a relevant document has to share
title = "{brand} {product}"
text = "{product} by {brand}. {extra}"
queries = ["{product}", "{brand} {product}"]
[slots]
brand = ["...", ...]
[synonyms]                               optional: what may stand for words of queries
backpack = ["rucksack"]
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from sidecar.typed_toml import read_toml

_FIELDS = ("name", "key", "title", "text", "queries", "slots", "synonyms")


@dataclass(frozen=True, slots=True)
class Template:
    """Patterns name slots in braces; `key` are names of slots."""

    name: str
    key: tuple[str, ...]
    title: str
    text: str
    queries: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    synonyms: Mapping[str, tuple[str, ...]]


def template_names() -> list[str]:
    """Those of the package."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir())


def load_template(given: str) -> Template:
    """By its name, or from a TOML file. Raises InputFileError, ConfigurationError."""
    if given in template_names():
        with resources.as_file(_folder() / f"{given}.toml") as path:
            return to_template(read_toml(path), path)
    path = Path(given)
    if not path.is_file():
        known = ", ".join(template_names())
        raise InputFileError(given, None, f"is no template: give a TOML file, or one of {known}")
    return to_template(read_toml(path), path)


def to_template(tree: Mapping[str, Any], path: Path) -> Template:
    """Of a file's tree. Raises InputFileError that says what is missing."""

    def wrong(message: str) -> InputFileError:
        return InputFileError(str(path), None, message)

    unknown = sorted(set(tree) - set(_FIELDS))
    if unknown:
        raise wrong(f"unknown key {unknown[0]!r}: there are {', '.join(_FIELDS)}")
    for name in ("title", "text"):
        if not isinstance(tree.get(name), str):
            raise wrong(f"{name} is missing: a text with slots in it")
    if not _are_texts(tree.get("queries")):
        raise wrong("queries is missing: a list of texts with slots in them")
    slots, synonyms = _lists(tree, "slots", wrong), _lists(tree, "synonyms", wrong)
    key = tree.get("key", [])
    template = Template(
        str(tree.get("name", path.stem)),
        tuple(key if isinstance(key, list) else [key]),
        tree["title"],
        tree["text"],
        tuple(tree["queries"]),
        slots,
        synonyms,
    )
    _check_slots(template, wrong)
    return template


def slots_in(pattern: str) -> list[str]:
    """Names in braces, in order."""
    return [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]


def _lists(tree: Mapping[str, Any], name: str, wrong: Any) -> dict[str, tuple[str, ...]]:
    given = tree.get(name, {})
    if not isinstance(given, dict) or not all(_are_texts(values) for values in given.values()):
        raise wrong(f"[{name}]: each key has a list of texts")
    return {key: tuple(values) for key, values in given.items()}


def _are_texts(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(isinstance(one, str) for one in given)


def _check_slots(template: Template, wrong: Any) -> None:
    try:
        used = {pattern: slots_in(pattern) for pattern in _patterns(template)}
    except ValueError as error:
        raise wrong(f"a pattern cannot be read: {error}") from error
    for pattern, names in used.items():
        for name in names:
            if name not in template.slots:
                raise wrong(f"{pattern!r}: there is no slot {name!r} in [slots]")
    if not template.key or not set(template.key) <= set(template.slots):
        raise wrong("key names the slots that a relevant document shares with the query")
    for pattern in template.queries:
        if not set(template.key) <= set(used[pattern]):
            raise wrong(f"{pattern!r}: a query has the key slots {', '.join(template.key)} in it")


def _patterns(template: Template) -> Sequence[str]:
    return (template.title, template.text, *template.queries)


def _folder() -> Any:
    return resources.files("training.synthetic") / "carried_templates"

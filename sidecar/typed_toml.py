"""TOML into frozen dataclasses: every key has a type and a sentence, an unknown one is refused.

A section is a dataclass whose fields are made by `setting`; a field that is a dataclass itself is a
section below it, one made by `sections` holds several of one kind by name. Values come from a TOML
file, or as text (from the environment, a command line).
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from sidecar.errors import ConfigurationError

Section = typing.TypeVar("Section")


def setting(default: typing.Any, doc: str) -> typing.Any:
    """A key with its default, whose type is the key's, and a sentence for the documentation."""
    return field(default=default, metadata={"doc": doc})


def sections(kind: type) -> typing.Any:
    """Any number of sections of one kind, each under a name of the user's: none by default."""
    return field(default_factory=dict, metadata={"sections": kind})


def read_toml(path: Path | None) -> dict[str, typing.Any]:
    """The tree of a file; None: an empty one. Raises ConfigurationError."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error


def with_values(
    base: Section, values: Mapping[str, typing.Any], section: str = "", path: Path | None = None
) -> Section:
    """`base` with the values of a tree in place of its own.

    Raises ConfigurationError for a section or key that `base` does not have, naming the nearest
    that it has, and for a value of another type.
    """
    known = {each.name: getattr(base, each.name) for each in dataclasses.fields(base)}  # type: ignore[arg-type]
    several = sections_of(base)
    hints = typing.get_type_hints(type(base))
    what = f"key in [{section}]" if section else "section"
    changes = {}
    for name, value in values.items():
        _check_known(name, known, what, path)
        full = f"{section}.{name}" if section else name
        if name in several:
            changes[name] = _by_name(several[name], value, full, path)
        elif dataclasses.is_dataclass(known[name]):
            if not isinstance(value, dict):
                raise ConfigurationError(
                    f"{full} is a section: write [{full}] and its keys below it"
                )
            changes[name] = with_values(known[name], value, full, path)
        else:
            changes[name] = _typed(value, hints[name], full)
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


def sections_of(base: typing.Any) -> dict[str, typing.Any]:
    """The fields of a section that hold several sections, and of what kind these are."""
    fields = dataclasses.fields(base)
    return {each.name: each.metadata["sections"] for each in fields if "sections" in each.metadata}


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigurationError for a value that is none of the choices."""
    if value not in choices:
        nearest = difflib.get_close_matches(value, choices, n=1, cutoff=0.0)[0]
        raise ConfigurationError(
            f"{name} is {value!r}: give one of {', '.join(choices)} (nearest: {nearest})"
        )


def _by_name(
    kind: type, values: typing.Any, section: str, path: Path | None
) -> dict[str, typing.Any]:
    if not isinstance(values, dict):
        raise ConfigurationError(f"{section} holds sections: write [{section}.NAME] and its keys")
    made = {}
    for name, keys in values.items():
        if not isinstance(keys, dict):
            raise ConfigurationError(f"{section}.{name} is a section: write [{section}.{name}]")
        made[name] = with_values(kind(), keys, f"{section}.{name}", path)
    return made


def _check_known(name: str, known: Mapping[str, typing.Any], what: str, path: Path | None) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    where = f"{path}: " if path else ""
    raise ConfigurationError(f"{where}unknown {what}: {name!r}; did you mean {nearest[0]!r}?")


def _typed(value: typing.Any, hint: typing.Any, name: str) -> typing.Any:
    """`value` as the type of a key; text is parsed, other types must match."""
    if typing.get_origin(hint) is tuple:
        return _tuple(value, typing.get_args(hint)[0], name)
    wanted: type = hint
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        parsed = _parse(value, wanted)
        if parsed is not None:
            return parsed
    raise ConfigurationError(f"{name} is {value!r}: give a value of type {wanted.__name__}")


def _tuple(value: typing.Any, part: type, name: str) -> tuple[typing.Any, ...]:
    """A list, or text with commas between its parts, in TOML's brackets or without any."""
    if isinstance(value, str):
        value = _parts(value.strip(), name)
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{name} is {value!r}: give a list")
    return tuple(_typed(each, part, name) for each in value)


def _parts(text: str, name: str) -> list[typing.Any]:
    """ "a, b" or '["a", "b"]'; a shell that took the quotes away leaves "[a, b]"."""
    if text.startswith("[") and text.endswith("]"):
        try:
            parsed: list[typing.Any] = tomllib.loads(f"list = {text}")["list"]
            return parsed
        except tomllib.TOMLDecodeError as error:
            if '"' in text or "'" in text:
                raise ConfigurationError(f'{name} is {text}: write a,b or ["a", "b"]') from error
            text = text[1:-1]
    return [each.strip() for each in text.split(",") if each.strip()]


def _parse(text: str, wanted: type) -> typing.Any:
    if wanted is bool:
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower())
    try:
        return wanted(text)
    except (ValueError, TypeError):
        return None

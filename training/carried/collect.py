"""Stage 1, collect: the text that models are trained on, as documents with a title and a body.

Three sources, none of which needs a label: the corpora of the judged sets that may be trained on,
and the documentation strings of the Python standard library and of the installed packages whose
licence lets their text be used.
"""

import ast
import inspect
import json
import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

TRAINABLE_SETS = ("scifact", "esci_us_small")
_PERMISSIVE = ("apache", "bsd", "mit", "python software foundation", "psf")
_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "_vendor", "site-packages", "idlelib"})
_SHORTEST_DOCSTRING = 60
_LONGEST_DOCSTRING = 2000


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One document to make queries and passages from; `source` is the set or "python"."""

    doc_id: str
    source: str
    title: str
    text: str

    @property
    def key(self) -> str:
        """Unique over all sources."""
        return f"{self.source}/{self.doc_id}"


def collect(data: Path) -> list[SourceDocument]:
    """Every document of the trainable sets under `data`, then the documentation of Python."""
    documents = [document for name in TRAINABLE_SETS for document in read_corpus(data / name)]
    return documents + list(collect_python())


def read_corpus(folder: Path) -> Iterator[SourceDocument]:
    """The corpus of one folder in BEIR layout."""
    with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield SourceDocument(row["_id"], folder.name, row.get("title", ""), row["text"])


def collect_python() -> Iterator[SourceDocument]:
    """Documentation strings of the standard library and of permissively licensed packages.

    The same text under two names (re-exports, overloads) is taken once.
    """
    seen: set[str] = set()
    for root, file in sorted(_python_files()):
        for document in _documentation_strings(root, file):
            if document.text not in seen:
                seen.add(document.text)
                yield document


def _python_files() -> Iterator[tuple[Path, Path]]:
    """(root, file) of every module whose text may be used."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in library.rglob("*.py"):
        if _SKIPPED_FOLDERS.isdisjoint(file.relative_to(library).parts):
            yield library, file
    for package in metadata.distributions():
        if is_permissive(package):
            yield from _package_files(package)


def _package_files(package: metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    root = Path(str(package.locate_file("")))
    for name in package.files or ():
        if name.suffix == ".py" and _SKIPPED_FOLDERS.isdisjoint(name.parts):
            yield root, root / name


def is_permissive(package: metadata.Distribution) -> bool:
    """Whether the package's own metadata names an Apache, BSD, MIT or PSF licence."""
    names = ("License-Expression", "License", "Classifier")
    fields = [field for name in names for field in package.metadata.get_all(name) or []]
    stated = " ".join(field[:200] for field in fields).lower()
    return any(name in stated for name in _PERMISSIVE) and "gpl" not in stated


def _documentation_strings(root: Path, file: Path) -> Iterator[SourceDocument]:
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    yield from _walk(tree, module)


def _walk(node: ast.AST, name: str) -> Iterator[SourceDocument]:
    """The node's own documentation string, then those of the definitions inside it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = inspect.cleandoc(ast.get_docstring(node) or "")
        if len(text) >= _SHORTEST_DOCSTRING and "\n" in text:
            yield SourceDocument(f"python:{name}", "python", name, text[:_LONGEST_DOCSTRING])
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")


def thin_python(
    documents: list[SourceDocument], most: int, most_per_package: int, seed: int
) -> list[SourceDocument]:
    """All documents of the sets; of Python's at most `most`, drawn at random, none dominating."""
    python = [document for document in documents if document.source == "python"]
    random.Random(seed).shuffle(python)
    taken: Counter[str] = Counter()
    kept = []
    for document in python:
        package = document.title.split(".")[0]
        if taken[package] < most_per_package:
            taken[package] += 1
            kept.append(document)
    return [document for document in documents if document.source != "python"] + kept[:most]


def write_documents(documents: list[SourceDocument], path: Path) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")


def read_documents(path: Path) -> list[SourceDocument]:
    """What `write_documents` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [SourceDocument(**json.loads(line)) for line in lines]

"""The documentation of the Python standard library, as it is installed on this machine.

Source files are parsed, not imported; only modules without source (C extensions and built-ins, from
a fixed list) are imported and inspected. Each module, class, function and method with a docstring
is one document, under the name by which it is imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sidecar.types import AttributeField, AttributeType, Document, Schema, TextField

SCHEMA = Schema(
    text_fields=(TextField("title"), TextField("text")),
    attributes=(
        AttributeField("module", AttributeType.STRING),
        AttributeField("kind", AttributeType.STRING),
    ),
)
_LEFT_OUT = """
    antigravity distutils encodings ensurepip idlelib lib2to3 msilib ntpath nturl2path pydoc_data
    test this turtledemo
"""
_WITHOUT_SOURCE = """
    array atexit binascii builtins cmath errno faulthandler fcntl gc grp itertools marshal math mmap
    pwd pyexpat resource select sys syslog termios time unicodedata zlib
    _collections _csv _io _random _struct
"""
RENAMED = {
    "posixpath": "os.path",
    "_collections": "collections",
    "_csv": "csv",
    "_io": "io",
    "_random": "random",
    "_struct": "struct",
}
TITLE_CHARACTERS = 160
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read_library(modules: Sequence[str] = ()) -> Iterator[Document]:
    """The documents, each name once; only of these top-level modules, if any are given."""
    seen = set()
    wanted = set(modules)
    for document in _all_documents():
        top = str(document.attributes["module"]).partition(".")[0]
        if document.doc_id not in seen and (not wanted or top in wanted):
            seen.add(document.doc_id)
            yield document


def _all_documents() -> Iterator[Document]:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in sorted(sys.stdlib_module_names.difference(_LEFT_OUT.split())):
        if (folder / name).is_dir():
            yield from _package_documents(folder / name, name)
        elif (folder / f"{name}.py").is_file() and not name.startswith("_"):
            yield from _file_documents(folder / f"{name}.py", RENAMED.get(name, name))
    for name in _WITHOUT_SOURCE.split():
        yield from _inspected_documents(name)


def _package_documents(folder: Path, package: str) -> Iterator[Document]:
    """A package's documents; what its __init__ imports from its own modules is named as there."""
    init = _parse(folder / "__init__.py")
    if init is None or package.startswith("_"):
        return
    yield from _tree_documents(init, package)
    exports = _exports(init, package)
    for path in sorted(folder.iterdir()):
        name = f"{package}.{path.stem}"
        if path.is_dir() and path.name not in ("test", "tests", "__pycache__"):
            yield from _package_documents(path, name)
        elif path.suffix == ".py" and not path.stem.startswith("__"):
            yield from _file_documents(path, name, package, exports.get(name, set()))


def _exports(init: ast.Module, package: str) -> dict[str, set[str]]:
    """Module -> the names that a package's __init__ imports from it ("*" for all public ones)."""
    exports: dict[str, set[str]] = {}
    for node in init.body:
        if isinstance(node, ast.ImportFrom):
            base = f"{package}." if node.level == 1 else ""
            names = exports.setdefault(f"{base}{node.module or ''}", set())
            names.update(alias.name for alias in node.names)
    return exports


def _file_documents(
    path: Path, module: str, package: str = "", exported: Iterable[str] = ()
) -> Iterator[Document]:
    tree = _parse(path)
    if tree is None:
        return
    names = set(exported)
    if "*" in names:
        names |= _declared_public(tree)
    yield from _tree_documents(tree, module, package, names)


def _declared_public(tree: ast.Module) -> set[str]:
    """The strings of the module's __all__."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            constants = (n for n in ast.walk(node.value) if isinstance(n, ast.Constant))
            return {str(constant.value) for constant in constants}
    return set()


def _tree_documents(
    tree: ast.Module, module: str, package: str = "", exported: Iterable[str] = ()
) -> Iterator[Document]:
    """Module, classes, methods and functions; of a private module only what is exported."""
    private = module.rpartition(".")[2].startswith("_")
    names = set(exported)
    if not private:
        yield from _document(module, "", module, "module", ast.get_docstring(tree))
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and not node.name.startswith("_"):
            home = package if node.name in names else module
            if home == package or not private:
                yield from _definition_documents(node, home)


def _definition_documents(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, module: str
) -> Iterator[Document]:
    name = f"{module}.{node.name}"
    if not isinstance(node, ast.ClassDef):
        yield from _document(name, _signature(node), module, "function", ast.get_docstring(node))
        return
    yield from _document(name, "", module, "class", ast.get_docstring(node))
    for member in node.body:
        if isinstance(member, FUNCTIONS) and not member.name.startswith("_"):
            text = ast.get_docstring(member)
            yield from _document(
                f"{name}.{member.name}", _signature(member), module, "method", text
            )


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f"({ast.unparse(node.args)})"


def _parse(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in string literals
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _inspected_documents(name: str) -> Iterator[Document]:
    """The documents of a module without source; none where this Python has no such module."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return
    public = RENAMED.get(name, name)
    if public == name:
        yield from _document(public, "", public, "module", module.__doc__)
    for member_name, member in inspect.getmembers(module):
        if not member_name.startswith("_"):
            yield from _member_documents(member, member_name, public)


def _member_documents(member: Any, name: str, module: str) -> Iterator[Document]:
    prefix = name if module == "builtins" else f"{module}.{name}"
    if inspect.isroutine(member):
        yield from _document(prefix, _text_signature(member), module, "function", member.__doc__)
    elif inspect.isclass(member):
        yield from _document(prefix, "", module, "class", member.__doc__)
        for method_name, method in vars(member).items():
            if inspect.isroutine(method) and not method_name.startswith("_"):
                text, signature = method.__doc__, _text_signature(method)
                yield from _document(f"{prefix}.{method_name}", signature, module, "method", text)


def _text_signature(member: Any) -> str:
    """The signature where the object has one, without the markers of its C implementation."""
    try:
        return str(inspect.signature(member))
    except (ValueError, TypeError):
        return "()"


def _document(
    name: str, signature: str, module: str, kind: str, docstring: str | None
) -> Iterator[Document]:
    """The document, or none without a docstring."""
    if docstring and docstring.strip():
        title = f"{name}{signature}".replace("\n", " ")[:TITLE_CHARACTERS]
        fields = {"title": title, "text": inspect.cleandoc(docstring)}
        yield Document(name, fields, {"module": module, "kind": kind})

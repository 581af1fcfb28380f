"""Who may import whom, read from the source: floors, siblings, protobuf, torch."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# From the top down; rooms of one floor do not know each other.
FLOORS = (
    ("__main__",),
    ("commands",),
    ("server",),
    ("service", "demo", "evaluation", "simulation"),
    ("pipeline",),
    ("recall", "rerank"),
    ("models",),
    ("storage",),
    (
        "feedback_types",
        "types",
        "errors",
        "config",
        "config_file",
        "metrics",
        "bounded_cache",
        "typed_toml",
    ),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
MAY_SPEAK_PROTOBUF = {"service", "server", "commands", "simulation"}
# The one room of training that calls a sidecar.
CALLERS = ROOT / "training" / "serving"
# sidecar/types.py and its neighbours are files of one floor; config raises what errors declares.
LOWEST = set(FLOORS[-1])
HEAVY = {"torch", "transformers", "onnx", "peft", "safetensors"}
MAY_IMPORT_TORCH = {"sidecar/models/convert.py"}
FILES = sorted(
    path
    for path in (*ROOT.glob("sidecar/**/*.py"), *ROOT.glob("training/**/*.py"))
    if ROOT / "sidecar" / "v1" not in path.parents
)
SERVING = [path for path in FILES if ROOT / "sidecar" in path.parents]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "sidecar").parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, and every name that may be one ("sidecar.recall.base")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> ast.Module:
    """The module without the bodies of its functions and without what only type checkers read."""

    class Stripper(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            typing_only = "TYPE_CHECKING" in ast.dump(node.test)
            return None if typing_only else self.generic_visit(node)

    stripped = Stripper().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in SERVING} - {"__init__"}
    assert rooms <= set(FLOOR), "give a new room its floor here"


def test_imports_run_downwards() -> None:
    offences = [
        f"{name_of(path)} imports {module}"
        for path in SERVING
        for module in imported(parsed(path))
        if module.startswith("sidecar.") and not is_below(module.split(".")[1], room_of(path))
    ]
    assert not offences


def is_below(other: str, room: str) -> bool:
    if other in {room, "v1"}:
        return True
    return FLOOR[other] > FLOOR[room] or {room, other} <= LOWEST


def test_only_the_catalog_knows_what_kinds_of_collections_there_are() -> None:
    recall = ROOT / "sidecar" / "recall"
    offences = [
        f"{name_of(path)} imports {module}"
        for kind in ("embedded", "opensearch", "milvus")
        for path in FILES
        if path.name != "backends.py" and not {recall / kind, recall / "catalog"} & {*path.parents}
        for module in imported(parsed(path))
        if module.startswith(f"sidecar.recall.{kind}")
    ]
    assert not offences, "what others need of it belongs to recall/collection.py"


def test_protobuf_stays_at_the_edge() -> None:
    offences = [
        f"{name_of(path)} imports {module}"
        for path in FILES
        if CALLERS not in path.parents
        and (path not in SERVING or room_of(path) not in MAY_SPEAK_PROTOBUF)
        for module in imported(parsed(path))
        if module.startswith(("sidecar.v1", "google.protobuf", "grpc"))
    ]
    assert not offences


def test_serving_does_not_import_torch() -> None:
    offences = [
        f"{name_of(path)} imports {module}: import it where it is used"
        for path in SERVING
        if name_of(path) not in MAY_IMPORT_TORCH
        for module in imported(at_module_level(parsed(path)))
        if module.split(".")[0] in HEAVY
    ]
    assert not offences


def test_the_serving_program_does_not_know_the_offline_one() -> None:
    offences = [
        f"{name_of(path)} imports {module}"
        for path in SERVING
        for module in imported(parsed(path))
        if module.split(".")[0] == "training"
    ]
    assert not offences


def test_rooms_of_the_offline_program_do_not_know_each_other_both_ways() -> None:
    known: dict[str, set[str]] = {}
    for path in FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "training":
            continue
        room = parts[1].removesuffix(".py")
        found = (module.split(".") for module in imported(parsed(path)))
        others = {names[1] for names in found if names[0] == "training" and len(names) > 1}
        known.setdefault(room, set()).update(others - {room})
    graphlib.TopologicalSorter(known).prepare()

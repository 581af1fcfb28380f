"""`sidecar-train`, or `python -m training`: models that learn from what users did."""

import argparse
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="sidecar-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    written = commands.add_parser(
        "to-transformers", help="write a carried model as transformers loads it"
    )
    written.add_argument("folder", type=Path)
    written.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    # torch takes seconds to import: only once the arguments are known to be right.
    from training.exporting.transformers_format import write_transformers_format

    write_transformers_format(given.folder, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`sidecar-train generate`: labelled samples from a template, or queries over given documents."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sidecar.errors import InvalidFieldError
from training.examples.documents import corpus_path, read_documents
from training.examples.refusals import Refusals
from training.synthetic.base import check_free, write_set
from training.synthetic.from_template import from_template
from training.synthetic.over_documents import queries_over
from training.synthetic.templates import load_template, template_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    names = ", ".join(template_names())
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--template", metavar="NAME|FILE", help=f"{names}, or a TOML file")
    what.add_argument(
        "--documents", metavar="DIR|FILE", help="queries over these: a BEIR folder or corpus.jsonl"
    )
    parser.add_argument("--samples", metavar="N", type=int, default=100, help="queries (100)")
    parser.add_argument("--split", default="train", help="qrels/SPLIT.tsv (train)")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn follows from it (0)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a BEIR folder")
    parser.add_argument("--add", action="store_true", help="to the made-up set that is in DIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a sentence")


def run(given: argparse.Namespace) -> int:
    """Writes the folder, and says that it is made up."""
    if not given.split.isidentifier():
        raise InvalidFieldError("--split", f"{given.split!r} is no name of a split")
    check_free(given.out, given.add)
    if given.template:
        template = load_template(given.template)
        documents, queries = from_template(template, given.samples, given.seed, given.split)
        origin = f"the template {template.name}"
    else:
        with Refusals() as refusals:
            path = corpus_path(given.documents)
            documents = [row for _, row in read_documents(path, refusals)]
        queries = queries_over(documents, given.samples, given.seed, given.split)
        origin = f"the documents of {path.resolve().parent.name}"
    about = f"{len(queries)} queries ({given.split}) of {origin}, seed {given.seed}"
    write_set(given.out, documents, queries, given.split, about)
    figures = {"queries": len(queries), "documents": len(documents), "synthetic": True}
    said = f"SYNTHETIC: {about}, over {len(documents)} documents in {given.out}: a smoke test"
    print(json.dumps(figures) if given.json else said)
    return 0

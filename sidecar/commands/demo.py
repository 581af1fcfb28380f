"""`sidecar demo`: searches the documentation of the Python standard library, stage by stage.

Starts a sidecar of its own as a child process, indexes on the first run, shows some queries and
then takes the user's; without a terminal to type on it ends after its own queries.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import grpc
from tqdm import tqdm

from sidecar.commands.connection import connect
from sidecar.commands.places import cache_folder
from sidecar.commands.search import print_ranking
from sidecar.commands.stage_view import StageView
from sidecar.commands.terminal import Terminal, fit
from sidecar.commands.upload import upload
from sidecar.demo.library import SCHEMA, read_library
from sidecar.demo.queries import QUERIES
from sidecar.errors import SidecarError
from sidecar.types import Document
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    filter_pb2,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

COLLECTION = "python"
HITS_SHOWN = 5
CALL_SECONDS = 30.0
STOP_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--data", metavar="DIR", type=Path, help="default: your cache folder")
    parser.add_argument(
        "--modules", metavar="NAME,...", default="", help="only these top-level modules"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo."""
    data_dir = arguments.data or cache_folder() / "demo"
    data_dir.mkdir(parents=True, exist_ok=True)
    modules = [name for name in arguments.modules.split(",") if name]
    terminal = Terminal.of(sys.stdout)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    with _sidecar(data_dir, terminal) as address, connect(address) as channel:
        _index_once(channel, terminal, data_dir / "demo.json", modules)
        for query, module in QUERIES:
            if not module or not modules or module in modules:
                _say_query(terminal, query, module)
                _show(channel, terminal, query, module)
        if sys.stdin.isatty():
            _prompt(channel, terminal)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends through the `finally` blocks, so that the child is stopped too."""
    sys.exit(128 + number)


@contextlib.contextmanager
def _sidecar(data_dir: Path, terminal: Terminal) -> Iterator[str]:
    """A sidecar on a free port as a child process; stopped, drained, at the end."""
    command = [sys.executable, "-m", "sidecar", "serve", "--data", str(data_dir)]
    command += ["--listen", "127.0.0.1:0"]
    _say(terminal, "starting a sidecar (the first time it measures this machine)")
    log_path = data_dir / "sidecar.log"
    with log_path.open("w") as log:
        # Of its own session: Ctrl-C at the prompt is for the prompt.
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    try:
        yield _address(child, log_path)
    finally:
        child.terminate()
        child.wait(STOP_SECONDS)
        if child.stdout:
            child.stdout.close()


def _address(child: subprocess.Popen[str], log_path: Path) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        child.wait()
        last = (log_path.read_text().strip().splitlines() or ["it said nothing"])[-1]
        raise SidecarError(f"the sidecar did not start: {last} (see {log_path})")
    return line.split()[-1]


def _index_once(
    channel: grpc.Channel, terminal: Terminal, marker: Path, modules: list[str]
) -> None:
    """Indexes unless the very same was indexed before: this Python, these modules."""
    wanted = {"python": platform.python_version(), "modules": modules}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(marker.read_text()) == wanted:
            return
    marker.unlink(missing_ok=True)
    _recreate(collection_pb2_grpc.CollectionServiceStub(channel))
    documents = list(read_library(modules))
    what = f"{len(documents)} documents: the documentation of Python {platform.python_version()}"
    _say(terminal, f"indexing {what}, once")
    stub = document_pb2_grpc.DocumentServiceStub(channel)
    marked = ((_to_message(document), document.doc_id) for document in documents)
    with tqdm(
        total=len(documents),
        desc="indexing",
        unit="doc",
        disable=not sys.stderr.isatty(),
    ) as bar:
        for acknowledged in upload(stub, COLLECTION, marked):
            bar.update(acknowledged.documents)
    marker.write_text(json.dumps(wanted))


def _recreate(stub: collection_pb2_grpc.CollectionServiceStub) -> None:
    listed = stub.ListCollections(collection_pb2.ListCollectionsRequest()).collections
    if COLLECTION in [collection.name for collection in listed]:
        stub.DropCollection(collection_pb2.DropCollectionRequest(name=COLLECTION))
    schema = collection_pb2.Schema(
        text_fields=[collection_pb2.TextField(name=field.name) for field in SCHEMA.text_fields],
        attributes=[
            collection_pb2.AttributeField(name=a.name, type=filter_pb2.ATTRIBUTE_TYPE_STRING)
            for a in SCHEMA.attributes
        ],
    )
    stub.CreateCollection(collection_pb2.CreateCollectionRequest(name=COLLECTION, schema=schema))


def _to_message(document: Document) -> document_pb2.Document:
    attributes = {
        name: filter_pb2.AttributeValue(string_value=str(value))
        for name, value in document.attributes.items()
    }
    return document_pb2.Document(
        doc_id=document.doc_id, fields=document.fields, attributes=attributes
    )


def _say(terminal: Terminal, sentence: str) -> None:
    print(terminal.paint(f"{sentence} ...", "dim"), flush=True)


def _say_query(terminal: Terminal, query: str, module: str) -> None:
    within = terminal.paint(f"  where module = {module}", "dim") if module else ""
    print(f"\n{terminal.paint('?', 'bold', 'yellow')} {terminal.paint(query, 'bold')}{within}\n")


def _show(channel: grpc.Channel, terminal: Terminal, query: str, module: str) -> None:
    """One query, stage by stage, and the first line of what ended on top."""
    search = search_pb2.SearchRequest(
        collection=COLLECTION,
        query=query,
        options=ranking_pb2.RankingOptions(top_k=HITS_SHOWN, explain=True),
        return_fields=[field.name for field in SCHEMA.text_fields],
    )
    if module:
        search.filter.equals.attribute = "module"
        search.filter.equals.value.string_value = module
    view = StageView(terminal, HITS_SHOWN)
    stub = search_pb2_grpc.SearchServiceStub(channel)
    request = search_pb2.SearchStreamRequest(search=search)
    for response in stub.SearchStream(request, timeout=CALL_SECONDS):
        print_ranking(view, response.ranking)
        if response.ranking.final and response.ranking.hits:
            _print_best(terminal, response.ranking.hits[0])


def _print_best(terminal: Terminal, hit: ranking_pb2.Hit) -> None:
    sentence = hit.fields["text"].strip().partition("\n\n")[0]
    room = terminal.columns - len(hit.doc_id) - 5
    if room >= 20:
        name = terminal.paint(hit.doc_id, "bold", "green")
        print(f"\n  {name}: {fit(sentence, room).rstrip()}")


def _prompt(channel: grpc.Channel, terminal: Terminal) -> None:
    """The user's own queries, until an empty line or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() its line editing; missing on some builds
    print("\nYour turn: ask in your own words; an empty line ends.")
    while True:
        try:
            query = input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not query:
            return
        print()
        _show(channel, terminal, query, "")

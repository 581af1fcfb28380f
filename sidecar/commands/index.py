"""`sidecar index FILE|DIR`: writes documents into a collection of a running sidecar.

What was acknowledged is remembered beside the file: a run that was interrupted, or that stopped at
a malformed line, goes on after the last acknowledged document.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from tqdm import tqdm

from sidecar.commands.connection import connect
from sidecar.commands.documents import DocumentBuilder, Place, Record, read_records
from sidecar.commands.progress import Progress, ProgressFile
from sidecar.commands.search import DEFAULT_ADDRESS
from sidecar.commands.upload import upload
from sidecar.errors import InputFileError, InvalidFieldError
from sidecar.recall.analyzer_choice import SAMPLE_TEXTS, choose_analyzer
from sidecar.recall.analyzers import analyzer_names
from sidecar.types import AttributeType
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "input",
        metavar="FILE|DIR",
        type=Path,
        help='JSONL ("_id", text fields, "metadata"), CSV with a header, or a folder that holds '
        "corpus.jsonl",
    )
    parser.add_argument("--to", metavar="ADDRESS", default=DEFAULT_ADDRESS, help="HOST:PORT")
    parser.add_argument("--collection", metavar="NAME", required=True)
    parser.add_argument("--create", action="store_true", help="create the collection if missing")
    parser.add_argument(
        "--field", action="append", metavar="NAME", help="with --create: a text field (title, text)"
    )
    parser.add_argument(
        "--analyzer",
        choices=("auto", *analyzer_names()),
        default="auto",
        help="with --create: of all text fields (auto: by the letters of the first documents)",
    )
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME:TYPE",
        help=f"with --create: an attribute, of type {', '.join(AttributeType)}",
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="with --create: the one of the server's [backends] that keeps it (its own folder)",
    )
    parser.add_argument("--state", metavar="FILE", type=Path, help="where progress is remembered")


def run(arguments: argparse.Namespace) -> int:
    """Indexes the file and says how many documents were written."""
    path = arguments.input / "corpus.jsonl" if arguments.input.is_dir() else arguments.input
    with connect(arguments.to) as channel:
        schema = _open_collection(channel, path, arguments)
        state = arguments.state or path.with_name(f".{path.name}.{arguments.collection}.progress")
        progress_file = ProgressFile(state, path, arguments.collection)
        documents = document_pb2_grpc.DocumentServiceStub(channel)
        resumed = _resumed(documents, arguments.collection, progress_file)
        _index(documents, path, schema, arguments.collection, progress_file, resumed)
    return 0


def _open_collection(
    channel: grpc.Channel, path: Path, arguments: argparse.Namespace
) -> collection_pb2.Schema:
    """The schema of the collection, created first if that was asked for."""
    stub = collection_pb2_grpc.CollectionServiceStub(channel)
    if arguments.create:
        request = collection_pb2.CreateCollectionRequest(
            name=arguments.collection,
            schema=_schema(path, arguments),
            backend=collection_pb2.Backend(name=arguments.backend) if arguments.backend else None,
        )
        with _unless(grpc.StatusCode.ALREADY_EXISTS):
            stub.CreateCollection(request)
    describe = collection_pb2.DescribeCollectionRequest(name=arguments.collection)
    schema: collection_pb2.Schema = stub.DescribeCollection(describe).collection.schema
    return schema


@contextlib.contextmanager
def _unless(code: grpc.StatusCode) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is not code:
            raise


def _schema(path: Path, arguments: argparse.Namespace) -> collection_pb2.Schema:
    fields = arguments.field or ["title", "text"]
    name = arguments.analyzer
    if name == "auto":
        name = _analyzer_of(path, fields)
    return collection_pb2.Schema(
        text_fields=[
            collection_pb2.TextField(name=field, analyzer=f"ANALYZER_{name.upper()}")
            for field in fields
        ],
        attributes=[_attribute(text) for text in arguments.attribute],
    )


def _analyzer_of(path: Path, fields: list[str]) -> str:
    """By the first records, up to a malformed one: that is answered when it is indexed."""
    texts: list[str] = []
    with contextlib.suppress(InputFileError):
        for record in itertools.islice(read_records(path, Place()), SAMPLE_TEXTS):
            texts.append(" ".join(str(record.texts.get(field, "")) for field in fields))
    return choose_analyzer(texts)


def _attribute(text: str) -> collection_pb2.AttributeField:
    name, _, type_name = text.partition(":")
    if type_name not in list(AttributeType):
        raise InvalidFieldError(f"--attribute {text}", f"write NAME:{'|'.join(AttributeType)}")
    return collection_pb2.AttributeField(name=name, type=f"ATTRIBUTE_TYPE_{type_name.upper()}")


def _resumed(
    stub: document_pb2_grpc.DocumentServiceStub, collection: str, progress_file: ProgressFile
) -> Progress | None:
    """The progress of an earlier run, if what it wrote last is still there."""
    progress = progress_file.load()
    if progress is None:
        return None
    request = document_pb2.GetDocumentsRequest(
        collection=collection, doc_ids=[progress.last_doc_id]
    )
    if stub.GetDocuments(request).missing_doc_ids:
        return None
    print(f"going on after line {progress.line}", file=sys.stderr)
    return progress


def _index(
    stub: document_pb2_grpc.DocumentServiceStub,
    path: Path,
    schema: collection_pb2.Schema,
    collection: str,
    progress_file: ProgressFile,
    resumed: Progress | None,
) -> None:
    builder = DocumentBuilder(path, schema)
    start = Place(resumed.line, resumed.byte) if resumed else Place()
    done = before = resumed.documents if resumed else 0
    started = time.monotonic()
    records = read_records(path, start)
    with _progress_bar(path, start) as bar:
        try:
            for ack in upload(stub, collection, ((builder.build(r), r) for r in records)):
                done += ack.documents
                progress_file.save(ack.mark.end, ack.mark.doc_id, done)
                _advance(bar, ack.mark, done)
        except InputFileError as error:
            raise _with_way_on(error, done) from error
    progress_file.remove()
    _say_left_out(builder)
    seconds = time.monotonic() - started
    print(f"{done - before} documents written into {collection!r} in {seconds:.1f} s")


def _progress_bar(path: Path, start: Place) -> tqdm[None]:
    """In bytes of the file, since its documents are not counted before; only on a terminal."""
    return tqdm(
        total=path.stat().st_size,
        initial=start.byte,
        unit="B",
        unit_scale=True,
        desc=path.name,
        disable=not sys.stderr.isatty(),
    )


def _advance(bar: tqdm[None], last: Record, documents: int) -> None:
    bar.set_postfix_str(f"{documents} documents", refresh=False)
    bar.update(last.end.byte - bar.n)


def _with_way_on(error: InputFileError, done: int) -> InputFileError:
    message = str(error.message).removeprefix(f"{error.path}, line {error.line}: ")
    way_on = f"the {done} documents before it are stored; mend it and run the same command again"
    return InputFileError(error.path, error.line, f"{message} ({way_on})")


def _say_left_out(builder: DocumentBuilder) -> None:
    if builder.left_out:
        names = ", ".join(sorted(builder.left_out))
        print(f"left out, since the collection declares no such field: {names}", file=sys.stderr)

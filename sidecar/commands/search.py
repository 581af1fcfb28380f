"""`sidecar search QUERY`: searches a running sidecar and prints each stage as it arrives."""

from __future__ import annotations

import argparse
import sys

from sidecar.commands.connection import connect
from sidecar.commands.filters import attribute_types, parse_filter
from sidecar.commands.search_facets import add_facet_argument, facet_lines, parse_facets
from sidecar.commands.search_order import add_order_arguments, order_fields
from sidecar.commands.search_text import add_text_arguments, text_fields
from sidecar.commands.stage_view import StageView
from sidecar.commands.terminal import Terminal
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    ranking_pb2,
    search_pb2,
    search_pb2_grpc,
)

DEFAULT_ADDRESS = "127.0.0.1:50051"
MINIMUM_STAGES = {
    "fused": ranking_pb2.STAGE_FUSED,
    "first": ranking_pb2.STAGE_FIRST_RERANK,
    "second": ranking_pb2.STAGE_SECOND_RERANK,
}
LONG_PASSAGES = {
    "cut-tail": ranking_pb2.LONG_PASSAGES_CUT_TAIL,
    "head-and-tail": ranking_pb2.LONG_PASSAGES_HEAD_AND_TAIL,
    "chunk-and-max": ranking_pb2.LONG_PASSAGES_CHUNK_AND_MAX,
    "reject": ranking_pb2.LONG_PASSAGES_REJECT,
}
CLASSES = {
    "interactive": ranking_pb2.REQUEST_CLASS_INTERACTIVE,
    "prefetch": ranking_pb2.REQUEST_CLASS_PREFETCH,
    "offline": ranking_pb2.REQUEST_CLASS_OFFLINE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="what is searched for")
    parser.add_argument("--on", metavar="ADDRESS", default=DEFAULT_ADDRESS, help="HOST:PORT")
    parser.add_argument("--collection", metavar="NAME", required=True)
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="NAME=VALUE, or with !=, >=, <=, >, <; a comma separates alternatives; "
        "several --where must all hold",
    )
    add_order_arguments(parser)
    add_text_arguments(parser)
    add_facet_argument(parser)
    parser.add_argument(
        "--pages", metavar="N", type=int, default=1, help="pages of --top hits that are shown (1)"
    )
    add_ranking_arguments(parser)


def add_ranking_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what search and rerank share."""
    parser.add_argument("--top", metavar="N", type=int, default=10, help="hits shown (10)")
    parser.add_argument("--explain", action="store_true", help="every stage's score of each hit")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=30.0, help="the call's deadline (30)"
    )
    parser.add_argument(
        "--at-least",
        choices=sorted(MINIMUM_STAGES),
        help="fail rather than answer with less than that stage",
    )
    parser.add_argument(
        "--first-depth", metavar="N", type=int, help="candidates of the first-stage reranker"
    )
    parser.add_argument(
        "--second-depth", metavar="N", type=int, help="candidates of the second-stage reranker"
    )
    parser.add_argument(
        "--long-passages", choices=sorted(LONG_PASSAGES), help="what happens above the budget"
    )
    parser.add_argument("--class", choices=sorted(CLASSES), dest="request_class", help="who waits")
    parser.add_argument("--no-cache", action="store_true", help="compute every score anew")
    parser.add_argument(
        "--logged", action="store_true", help="log the rankings as shown, and print their tokens"
    )


def run(arguments: argparse.Namespace) -> int:
    """Searches and prints."""
    view = StageView(Terminal.of(sys.stdout), arguments.top, arguments.explain)
    with connect(arguments.on) as channel:
        describe = collection_pb2.DescribeCollectionRequest(name=arguments.collection)
        collections = collection_pb2_grpc.CollectionServiceStub(channel)
        schema = collections.DescribeCollection(describe).collection.schema
        view.title_fields = [field.name for field in schema.text_fields]
        types = attribute_types(schema)
        search = search_pb2.SearchRequest(
            collection=arguments.collection,
            query=arguments.query,
            filter=parse_filter(arguments.where, types),
            options=ranking_options(arguments),
            return_fields=view.title_fields,
            facets=parse_facets(arguments.facet),
            **order_fields(arguments, types),
            **text_fields(arguments, view.terminal.columns),
        )
        stub = search_pb2_grpc.SearchServiceStub(channel)
        if arguments.pages > 1:
            search.page.SetInParent()
        cursor = print_stages(view, stub, search, arguments.timeout)
        for page in range(2, arguments.pages + 1):
            if not cursor:
                break
            search.page.cursor = cursor
            cursor = print_page(view, page, stub.Search(search, timeout=arguments.timeout))
    return 0


def print_stages(
    view: StageView,
    stub: search_pb2_grpc.SearchServiceStub,
    search: search_pb2.SearchRequest,
    timeout_seconds: float,
) -> str:
    """Prints each stage's ranking as it arrives; the cursor of the page after it."""
    request = search_pb2.SearchStreamRequest(search=search)
    cursor = ""
    for response in stub.SearchStream(request, timeout=timeout_seconds):
        print_ranking(view, response.ranking)
        for line in facet_lines(response.facets):
            print(line)
        cursor = response.next_cursor
    return cursor


def print_page(view: StageView, page: int, response: search_pb2.SearchResponse) -> str:
    """Prints a later page; the cursor of the page after it."""
    print(f" page {page}")
    for line in view.hit_lines(response.ranking):
        print(line)
    print_token(response.ranking)
    return response.next_cursor


def ranking_options(arguments: argparse.Namespace) -> ranking_pb2.RankingOptions:
    """Always explained: the view needs the earlier ranks. Not logged unless that is asked for: who
    tries a query is no user."""
    bypass = ranking_pb2.CACHE_POLICY_BYPASS if arguments.no_cache else None
    least = MINIMUM_STAGES[arguments.at_least] if arguments.at_least else None
    long_passages, who = arguments.long_passages, arguments.request_class
    return ranking_pb2.RankingOptions(
        top_k=arguments.top,
        explain=True,
        minimum_stage=least,
        cache=bypass,
        unlogged=not arguments.logged,
        first_rerank_depth=arguments.first_depth,
        second_rerank_depth=arguments.second_depth,
        long_passages=LONG_PASSAGES[long_passages] if long_passages else None,
        request_class=CLASSES[who] if who else None,
    )


def print_ranking(view: StageView, ranking: ranking_pb2.Ranking) -> None:
    """Prints one ranking at once, however the output is buffered."""
    for line in view.lines(ranking):
        print(line)
    if ranking.final and not ranking.hits:
        print(" nothing found")
    print_token(ranking)


def print_token(ranking: ranking_pb2.Ranking) -> None:
    """Prints the token of a ranking that is logged, and all that was printed before."""
    if ranking.ranking_token:
        print(f" token {ranking.ranking_token}")
    sys.stdout.flush()

"""What the command line asks of a ranking, as the request says it."""

from __future__ import annotations

import argparse

import pytest

from sidecar.commands.search import add_ranking_arguments, ranking_options
from sidecar.v1.ranking_pb2 import (
    CACHE_POLICY_BYPASS,
    LONG_PASSAGES_HEAD_AND_TAIL,
    REQUEST_CLASS_OFFLINE,
    STAGE_FIRST_RERANK,
    RankingOptions,
)


def asked(*words: str) -> RankingOptions:
    parser = argparse.ArgumentParser()
    add_ranking_arguments(parser)
    return ranking_options(parser.parse_args(words))


def test_every_option_is_sent() -> None:
    options = asked(
        *("--top", "3", "--first-depth", "0", "--second-depth", "7", "--at-least", "first"),
        *("--long-passages", "head-and-tail", "--class", "offline", "--no-cache"),
    )
    assert (options.top_k, options.first_rerank_depth, options.second_rerank_depth) == (3, 0, 7)
    assert options.minimum_stage == STAGE_FIRST_RERANK
    assert options.long_passages == LONG_PASSAGES_HEAD_AND_TAIL
    assert options.request_class == REQUEST_CLASS_OFFLINE
    assert options.cache == CACHE_POLICY_BYPASS


def test_what_is_not_given_is_left_to_the_server() -> None:
    options = asked()
    assert not options.HasField("first_rerank_depth")
    assert not options.HasField("second_rerank_depth")
    assert (options.long_passages, options.request_class, options.cache) == (0, 0, 0)


def test_a_class_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked("--class", "urgent")
    assert "interactive" in capsys.readouterr().err

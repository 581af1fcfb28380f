"""The configuration: what is refused and how the message helps."""

from pathlib import Path

import pytest

from sidecar.config import Config
from sidecar.config_file import describe_config, load_config
from sidecar.errors import ConfigurationError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sidecar.toml"
    path.write_text(text)
    return path


def test_defaults_without_file_and_environment() -> None:
    assert load_config(None, {}) == Config()


def test_file_then_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "[first_reranker]\ndepth = 30\nweight = 1\n[fusion]\nrrf_k = 20\n")
    config = load_config(path, {"SIDECAR_FIRST_RERANKER__DEPTH": "40"})
    assert config.first_reranker.depth == 40
    assert config.first_reranker.weight == 1.0
    assert config.fusion.rrf_k == 20.0
    assert config.second_reranker == Config().second_reranker


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[recal]\nlexical_depth = 5\n", "unknown section: 'recal'; did you mean 'recall'?"),
        ("[recall]\nlexical_dept = 5\n", "'lexical_dept'; did you mean 'lexical_depth'?"),
        ("[recall]\nzzz = 5\n", "unknown key in [recall]: 'zzz'"),
        ("recall = 5\n", "recall is a section"),
        ("[server]\nmax_calls = -1\n", "server.max_calls is -1: give 1 or more"),
        ("[server]\nreply_margin_seconds = -1\n", "reply_margin_seconds is -1.0: give 0 or more"),
        ("[planner]\nsecond_share = 5\n", "planner.second_share is 5.0: give 1 or less"),
        ("[cache]\nscore_bytes = -5\n", "cache.score_bytes is -5: give 0 or more"),
        ("[feedback]\ntoken_hours = 0\n", "feedback.token_hours is 0.0: give 0.01 or more"),
        ("[guard]\nfailure_margin = 2\n", "guard.failure_margin is 2.0: give 1 or less"),
        ("[guard]\np99_ratio = 0.5\n", "guard.p99_ratio is 0.5, by which equals are taken away"),
        ("[registry]\nfollow_seconds = 5\n", "follow_seconds is set without registry.url"),
        ('[first_reranker]\ntruncation = "query:1;query:2"\n', "names query twice"),
        ('[second_reranker]\ntruncation = "256"\n', "second_reranker.truncation is '256': give"),
        ('[recall]\nlexical_depth = "many"\n', "recall.lexical_depth is 'many': give a value"),
        (
            "[recall]\nlexical_depth = 2.5\n",
            "recall.lexical_depth is 2.5: give a value of type int",
        ),
        ("[recall]\nlexical_depth = true\n", "recall.lexical_depth is True"),
        ("[recall]\nlexical_depth = 0\n", "recall.lexical_depth is 0: give 1 to 10000"),
        ('[fusion]\nmethod = "rff"\n', "nearest: rrf"),
        ("[first_reranker]\nweight = 1.5\n", "first_reranker.weight is 1.5: give -1 or 0 to 1"),
        ("[second_reranker]\ndepth = 1001\n", "second_reranker.depth is 1001: give 0 to 1000"),
        ("[recall\n", "not valid TOML"),
    ],
)
def test_refused_with_the_way_out(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(write(tmp_path, text), {})
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.toml: cannot be read"):
        load_config(tmp_path / "nowhere.toml", {})


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("FALSE", False), ("0", False)]
)
def test_booleans_from_the_environment(text: str, value: bool) -> None:
    config = load_config(None, {"SIDECAR_LANGUAGE__SKIP_UNSERVED": text})
    assert config.language.skip_unserved is value


def test_an_unknown_environment_variable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'rrf_k'"):
        load_config(None, {"SIDECAR_FUSION__RRF": "1"})


def test_foreign_environment_variables_are_left_alone() -> None:
    assert load_config(None, {"SIDECAR_REQUIRE_CLIENTS": "1", "HOME": "/"}) == Config()


def test_every_key_is_described() -> None:
    rows = describe_config()
    assert len({key for key, *_ in rows}) == len(rows) > 20
    assert all(sentence for *_, sentence in rows)


def test_backends_by_name_from_the_file_and_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, '[backends.shop]\nurl = "http://a:9200"\nuser = "reader"\n')
    config = load_config(path, {"SIDECAR_BACKENDS__SHOP__USER": "writer"})
    assert config.backends["shop"].url == "http://a:9200"
    assert config.backends["shop"].user == "writer"
    assert config.backends["shop"].kind == "opensearch"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[backends]\nshop = 5\n", "backends.shop is a section: write [backends.shop]"),
        ("backends = 5\n", "write [backends.NAME] and its keys"),
        ("[backends.shop]\nurll = 'x'\n", "'urll'; did you mean 'url'?"),
        ("[backends.shop]\nuser = 'x'\n", "backends.shop.url is empty"),
        ("[backends.shop]\nurl = 'x'\nkind = 'solr'\n", "backends.shop.kind is 'solr'"),
        ("[backends.shop]\nurl = 'x'\nshards = 0\n", "backends.shop.shards is 0"),
        ("[backends.shop]\nurl = 'x'\nreplicas = 'two'\n", "backends.shop.replicas is 'two'"),
        ("[backends.shop]\nurl = 'x'\ntimeout_seconds = 0\n", "timeout_seconds is 0.0"),
    ],
)
def test_backends_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(write(tmp_path, text), {})
    assert message in str(caught.value)

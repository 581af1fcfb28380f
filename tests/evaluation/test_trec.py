"""Run files, read back by ir-measures."""

from pathlib import Path

import ir_measures
import pytest

from sidecar.errors import InputFileError
from sidecar.evaluation.trec import write_run


def test_ir_measures_reads_the_order_back(tmp_path: Path) -> None:
    write_run(tmp_path / "fused.trec", {"q1": ["b", "a"], "q2": ["c"]}, "fused")
    scored = list(ir_measures.read_trec_run(str(tmp_path / "fused.trec")))
    by_query = {
        query: [s.doc_id for s in sorted(scored, key=lambda s: -s.score) if s.query_id == query]
        for query in ("q1", "q2")
    }
    assert by_query == {"q1": ["b", "a"], "q2": ["c"]}


def test_an_id_with_white_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="'a b' holds white space"):
        write_run(tmp_path / "x.trec", {"q1": ["a b"]}, "x")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="cannot be written"):
        write_run(tmp_path / "nowhere" / "x.trec", {"q1": ["a"]}, "x")

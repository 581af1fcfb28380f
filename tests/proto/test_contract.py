"""The contract: linted, and spoken of in the same words by sidecar.types."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor

from sidecar import types
from sidecar.service.messages.collection import ANALYZERS, ATTRIBUTE_TYPES
from sidecar.service.messages.document import ACKNOWLEDGEMENTS
from sidecar.v1 import collection_pb2, document_pb2, filter_pb2, ranking_pb2

ROOT = Path(__file__).parents[2]
ENUMS: list[tuple[type[enum.IntEnum], EnumDescriptor]] = [
    (types.Stage, ranking_pb2.Stage.DESCRIPTOR),
    (types.StageState, ranking_pb2.StageState.DESCRIPTOR),
    (types.StageReason, ranking_pb2.StageReason.DESCRIPTOR),
    (types.HitState, ranking_pb2.HitState.DESCRIPTOR),
    (types.UnscoredReason, ranking_pb2.UnscoredReason.DESCRIPTOR),
]


def _prefix(descriptor: EnumDescriptor) -> str:
    letters = [f"_{c}" if c.isupper() else c for c in descriptor.name]
    return "".join(letters).lstrip("_").upper() + "_"


@pytest.mark.parametrize(("plain", "descriptor"), ENUMS, ids=lambda one: one.__class__.__name__)
def test_enums_have_the_names_and_numbers_of_the_proto(
    plain: type[enum.IntEnum], descriptor: EnumDescriptor
) -> None:
    prefix = _prefix(descriptor)
    in_proto = {value.name.removeprefix(prefix): value.number for value in descriptor.values}
    in_types = {value.name: value.value for value in plain}
    assert in_proto.pop("UNSPECIFIED") == 0
    assert in_types.pop("NONE", 0) == 0
    assert in_types == in_proto


def test_every_value_of_a_request_enum_is_read() -> None:
    assert set(ANALYZERS) == set(collection_pb2.Analyzer.values())
    assert set(ACKNOWLEDGEMENTS) == set(document_pb2.Acknowledgement.values())
    refused = {filter_pb2.ATTRIBUTE_TYPE_UNSPECIFIED}
    assert set(ATTRIBUTE_TYPES) == set(filter_pb2.AttributeType.values()) - refused
    assert set(ATTRIBUTE_TYPES.values()) == set(types.AttributeType)
    for value, plain in ATTRIBUTE_TYPES.items():
        assert filter_pb2.AttributeType.Name(value) == f"ATTRIBUTE_TYPE_{plain.name}"


def test_the_proto_files_pass_buf_lint() -> None:
    buf = os.environ.get("BUF") or shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not on the PATH: npm install @bufbuild/buf, and set BUF to it")
    lint = subprocess.run([buf, "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout + lint.stderr

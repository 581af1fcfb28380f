"""How a Milvus collection is made for documents: fields, the BM25 function, indexes.

doc_id      VARCHAR, the primary key
sequence    INT64, of the write it stems from
fields, attributes    VARCHAR, what is returned
terms       VARCHAR, from which Milvus makes `lexical`, a sparse vector searched by BM25
vector      FLOAT_VECTOR, searched by cosine; only where there is a bi-encoder
attribute_NAME        what filters look at, null where a document has none
"""

from __future__ import annotations

from typing import Any

from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client import IndexParams

from sidecar.errors import TooLargeError
from sidecar.recall.attributes import MAX_LIST_VALUES
from sidecar.recall.attributes import MAX_STRING_BYTES as MAX_ATTRIBUTE_BYTES
from sidecar.recall.checks import MAX_ID_BYTES
from sidecar.recall.milvus.expressions import DOC_ID, SEQUENCE, attribute_field
from sidecar.recall.milvus.rows import (
    ATTRIBUTES,
    FIELDS,
    LEXICAL,
    MAX_STRING_BYTES,
    TERMS,
    VECTOR,
)
from sidecar.types import AttributeField, AttributeType, Schema

# As the embedded lexical index has them.
BM25 = {"bm25_k1": 1.2, "bm25_b": 0.75}
HNSW = {"M": 32, "efConstruction": 200}
# "Field: 64" of https://milvus.io/docs/limitations.md
MAX_FIELDS = 64

_TYPES = {
    AttributeType.STRING: DataType.VARCHAR,
    AttributeType.INTEGER: DataType.INT64,
    AttributeType.DOUBLE: DataType.DOUBLE,
    AttributeType.BOOLEAN: DataType.BOOL,
    AttributeType.TIMESTAMP: DataType.INT64,
    AttributeType.STRING_LIST: DataType.ARRAY,
}


def to_milvus_schema(schema: Schema, dimensions: int | None) -> CollectionSchema:
    """The fields of a collection; `dimensions` None: without vectors. Raises TooLargeError."""
    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    made.add_field(DOC_ID, DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    made.add_field(SEQUENCE, DataType.INT64)
    for name in (FIELDS, ATTRIBUTES):
        made.add_field(name, DataType.VARCHAR, max_length=MAX_STRING_BYTES)
    _add_terms(made)
    if dimensions is not None:
        made.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimensions)
    _check_count(len(schema.attributes), MAX_FIELDS - len(made.fields))
    for attribute in schema.attributes:
        _add_attribute(made, attribute)
    return made


def to_indexes(dimensions: int | None) -> IndexParams:
    """The indexes of both legs."""
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index(LEXICAL, "SPARSE_INVERTED_INDEX", metric_type="BM25", params=BM25)
    if dimensions is not None:
        indexes.add_index(VECTOR, "HNSW", metric_type="COSINE", params=HNSW)
    return indexes


def _add_terms(made: CollectionSchema) -> None:
    # Terms are words to any tokenizer; this one every kind of Milvus has, milvus-lite only it.
    analyzer = {"tokenizer": "standard"}
    made.add_field(
        TERMS,
        DataType.VARCHAR,
        max_length=MAX_STRING_BYTES,
        enable_analyzer=True,
        analyzer_params=analyzer,
    )
    made.add_field(LEXICAL, DataType.SPARSE_FLOAT_VECTOR)
    made.add_function(Function(LEXICAL, FunctionType.BM25, [TERMS], [LEXICAL]))


def _add_attribute(made: CollectionSchema, attribute: AttributeField) -> None:
    options: dict[str, Any] = {"nullable": True}
    if attribute.type in (AttributeType.STRING, AttributeType.STRING_LIST):
        options["max_length"] = MAX_ATTRIBUTE_BYTES
    if attribute.type is AttributeType.STRING_LIST:
        options |= {"element_type": DataType.VARCHAR, "max_capacity": MAX_LIST_VALUES}
    made.add_field(attribute_field(attribute.name), _TYPES[attribute.type], **options)


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise TooLargeError(
            "schema.attributes",
            f"has {count} entries: Milvus has {MAX_FIELDS} fields, of which {most} are left for "
            "attributes",
        )

"""Checksums of rows. SQLite checks how its file hangs together, and the frames of its log, but not
what is in a row: a bit that the disk flipped there would be read as if it had been written.

A row is written with the CRC-32 of what it says, which is compared when it is read. Rows of formats
1 and 2 have none.
"""

from __future__ import annotations

import zlib


def checksum_of_document(sequence: int, doc_id: str, fields: bytes, attributes: bytes) -> int:
    """Of a document, its fields and attributes as they are in the row (JSON in UTF-8)."""
    return zlib.crc32(b"\0".join((str(sequence).encode(), doc_id.encode(), fields, attributes)))


def checksum_of_header(collection_id: str, name: str, schema: str) -> int:
    """Of what a collection is; the schema as JSON."""
    return zlib.crc32("\0".join((collection_id, name, schema)).encode())


def checksum_of_vector(ordinal: int, blob: bytes) -> int:
    """Of a vector, as it is in the row."""
    return zlib.crc32(blob, ordinal & 0xFFFFFFFF)

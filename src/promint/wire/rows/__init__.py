"""Files of rows: tables of codes as CSV, text, XLSX and JSON Lines, read and written.

`open_rows` reads one, `open_writer` writes one, `RejectsWriter` writes what could not be used
beside the reason. Neither knows a store. What people need to know is in docs/reference/files.md.
"""

from promint.wire.rows.chunks import (
    DELIMITERS,
    Chunk,
    Encoding,
    FileFormat,
    PlainChunk,
    ReadOptions,
    Recognised,
    Reject,
    RejectKind,
    Row,
    RowChunk,
)
from promint.wire.rows.columns import read_column_options
from promint.wire.rows.reading import RowReader, open_rows, originals
from promint.wire.rows.rejects import RejectsWriter
from promint.wire.rows.writing import CODE_COLUMNS, RowWriter, Value, open_writer, write_rows

__all__ = [
    "CODE_COLUMNS",
    "DELIMITERS",
    "Chunk",
    "Encoding",
    "FileFormat",
    "PlainChunk",
    "ReadOptions",
    "Recognised",
    "Reject",
    "RejectKind",
    "RejectsWriter",
    "Row",
    "RowChunk",
    "RowReader",
    "RowWriter",
    "Value",
    "open_rows",
    "open_writer",
    "originals",
    "read_column_options",
    "write_rows",
]

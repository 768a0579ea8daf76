"""Codes handed out as a file: CSV, XLSX or JSON Lines, as of one moment."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from promint.domain.model import LoyaltyProgram, PromoCode
from promint.service.means import Means, Progress, unwatched
from promint.service.searching import Search
from promint.store.searching import CodeFilter, Notation
from promint.wire.rows import CODE_COLUMNS, FileFormat, RowWriter, open_writer
from promint.wire.rows.writing import CELL, MOMENT, LineWriter, Value

CONTENT_TYPES = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    FileFormat.JSONL: "application/jsonl; charset=utf-8",
}


class Exporting:
    """Exports of one store."""

    def __init__(self, means: Means) -> None:
        """Take what use cases need."""
        self._means = means
        self._search = Search(means)

    async def export(
        self,
        program: LoyaltyProgram,
        wanted: CodeFilter,
        form: FileFormat,
        *,
        raw: bool = False,
        progress: Progress = unwatched,
    ) -> AsyncGenerator[bytes]:
        """Yield the file of the codes that match, in order of creation, in pieces.

        A chunk of codes is held at a time, whatever their number. Unless `raw`, no cell starts a
        formula in a spreadsheet.

        Raises:
            BadValue: the format is not one that tables are written in.
            StoreBusy: the store cannot answer now; the file ends there and is not whole.
        """
        now = self._means.now()
        writer = open_writer(form, [*CODE_COLUMNS, *program.fields], raw=raw)
        if isinstance(writer, LineWriter) and not program.fields:
            pieces = self._lines(program, wanted, form, writer)
        else:
            pieces = self._rows(program, wanted, writer, now)
        done = 0
        yield writer.begin()
        async with aclosing(pieces) as counted:
            async for count, piece in counted:
                yield piece
                done += count
                await progress(done, None, "exporting")
        yield writer.end()

    async def _lines(
        self, program: LoyaltyProgram, wanted: CodeFilter, form: FileFormat, writer: LineWriter
    ) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield how many codes, and their bytes, of lines that the database makes."""
        notation = Notation(CODE_COLUMNS, CELL, MOMENT, is_json=form is FileFormat.JSONL)
        async with aclosing(self._search.lines(program, wanted, notation)) as pieces:
            async for lines in pieces:
                yield lines.count(b"\n"), await asyncio.to_thread(writer.lines, lines)

    async def _rows(
        self, program: LoyaltyProgram, wanted: CodeFilter, writer: RowWriter, now: int
    ) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield the same of values, for what lines do not have."""
        async with aclosing(self._search.walk(program, wanted)) as chunks:
            async for codes in chunks:
                yield (
                    len(codes),
                    await asyncio.to_thread(
                        lambda codes=codes: writer.rows(  # type: ignore[misc]
                            [_row(program, code, now) for code in codes]
                        )
                    ),
                )


def _row(program: LoyaltyProgram, code: PromoCode, now: int) -> Sequence[Value]:
    row: list[Value] = [
        code.code,
        code.state(now).value,
        code.created_at,
        code.expires_at,
        code.attached_at,
        code.activated_at,
        code.attach_count,
        code.activation_count,
        code.database_id,
        code.profile_id,
        code.batch_id,
    ]
    if program.fields:
        data = json.loads(code.fields) if code.fields else {}
        row.extend(data.get(name) for name in program.fields)
    return row

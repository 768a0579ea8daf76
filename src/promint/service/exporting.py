"""Codes handed out as a file: CSV, XLSX or JSON Lines, as of one moment."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from promint.domain.model import LoyaltyProgram, PromoCode
from promint.service.means import Means, Progress, unwatched
from promint.service.searching import Search
from promint.store.searching import CodeFilter
from promint.wire.rows import CODE_COLUMNS, FileFormat, open_writer
from promint.wire.rows.writing import Value

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
        done = 0
        yield writer.begin()
        async with aclosing(self._search.walk(program, wanted)) as chunks:
            async for codes in chunks:
                yield await asyncio.to_thread(
                    lambda codes=codes: writer.rows(  # type: ignore[misc]
                        [_row(program, code, now) for code in codes]
                    )
                )
                done += len(codes)
                await progress(done, None, "exporting")
        yield writer.end()


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

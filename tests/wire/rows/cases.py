# ruff: noqa: E501, RUF001 - the files are data: long lines and letters of any script
"""Damaged and strange files, and what becomes of each."""

import gzip
import io
import zipfile
from typing import Any, NamedTuple

from promint.domain.errors import BadValue
from promint.wire.rows import (
    Encoding,
    FileFormat,
    PlainChunk,
    ReadOptions,
    open_rows,
)
from tests.wire.rows.workbook import (
    DATE_STYLES,
    MAIN,
    archive,
    codes,
    number,
    row,
    sheet,
    text,
    workbook,
)


class Case(NamedTuple):
    """A file, how it is read, and what comes out: see `outcome`."""

    name: str
    content: bytes
    expected: str
    file: str = "f.csv"
    options: dict[str, Any] = {}  # noqa: RUF012  # a named tuple copies nothing


def outcome(case: Case) -> str:
    """Return `!` and the sentence that ends the file; before it the codes and the rejects.

    A code is `LINE:CODE`, with its date if it has one; a reject is `LINE? REASON`.
    """
    found: list[str] = []
    try:
        options = ReadOptions(**case.options)
        with open_rows(io.BytesIO(case.content), name=case.file, options=options) as reader:
            for chunk in reader:
                if isinstance(chunk, PlainChunk):
                    found += [
                        f"{line}:{code.strip()}"
                        for line, code in enumerate(chunk.texts, chunk.first_line)
                        if code.strip()
                    ]
                else:
                    found += [_shown(row) for row in chunk.rows]
                found += [f"{r.line}? {r.reason}" for r in chunk.rejects]
    except BadValue as bad:
        found.append(f"! {bad.detail}")
    return "; ".join(found)


def _shown(row: Any) -> str:
    # 1,767,225,600 is 2026-01-01T00:00:00Z: dates are shown as days and seconds from there.
    shown = f"{row.line}:{row.code.strip()}"
    if row.expires_at is not None:
        days, seconds = divmod(row.expires_at // 1_000_000 - 1_767_225_600, 86_400)
        shown += f"@{days}" + (f"+{seconds}" if seconds else "")
    others = [row.database_id, row.profile_id, row.email, row.phone, row.custom, row.fields]
    return " ".join([shown, *(str(other) for other in others if other is not None)])


def _utf16(text: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le")


def _ole(*streams: str) -> bytes:
    header = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    header[30:32] = (9).to_bytes(2, "little")
    header[48:52] = (1).to_bytes(4, "little")
    directory = b"".join(stream.encode("utf-16-le").ljust(128, b"\0") for stream in streams)
    return bytes(header) + bytes(512) + directory.ljust(512, b"\0")


def _encrypted_zip() -> bytes:
    data = bytearray(workbook(codes("A")))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(magic)
        while place >= 0:
            data[place + flags] |= 1
            place = data.find(magic, place + 4)
    return bytes(data)


def _many_parts() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for n in range(10_001):
            packed.writestr(str(n), "")
    return file.getvalue()


def _bomb(part: str, start: str, middle: str, end: str) -> bytes:
    """Return a workbook with a part of 96 MiB in 100 KB."""
    whole = start + middle * ((96 << 20) // len(middle)) + end
    return workbook(codes("A"), parts={part: whole})


RUSSIAN = "код;годен до\nВЕСНА;31.12.2026\n"
BIG = 1 << 20

GZIPPED = gzip.compress(b"code\n" + b"".join(b"C%06d\n" % n for n in range(100)), mtime=0)
XLSX = workbook(codes("A1", "A2"))

CASES = [
    Case("empty", b"", "@@"),
    Case("empty gzip", gzip.compress(b"", mtime=0), "@@", "f.csv.gz"),
    Case("blank lines only", b"\n\r\n  \n", "@@"),
    Case("only a byte order mark", b"\xef\xbb\xbf", "@@"),
    Case("only a mark of UTF-16", b"\xff\xfe", "@@"),
    Case("header only", b"code\n", "@@"),
    Case("header only, no line end", b"code,expire_date", "@@"),
    Case("header and blank lines", b"code,expire_date\n\n,\n", "@@"),
    Case("one code, no line end", b"A1", "@@", "f.txt"),
    Case("one character", b"A", "@@", "f.txt"),
    Case("text of spaces", b"   ", "@@", "f.txt"),
    Case("mixed line ends", b"code\rA1\nA2\r\nA3\r\rA4", "@@"),
    Case("mixed line ends in a table", b"code,email\rA1,a@b\nA2,\r\n\nA4,c@d", "@@"),
    Case("carriage returns only", b"A1\rA2\rA3\r", "@@", "f.txt"),
    Case("blank lines between", b"code\n\nA1\n\n\nA2\n", "@@"),
    Case("line feed then carriage return", b"A1\n\rA2\n\r", "@@", "f.txt"),
    Case("form feed is no line end", b"A1\x0cA2\n", "@@", "f.txt"),
    Case("line separator is no line end", "A1\u2028A2\n".encode(), "@@", "f.txt"),
    Case("next line is no line end", "code,email\nA1,a\x85b\n".encode(), "@@"),
    Case("semicolons", b"code;expire_date\nA1;2026-01-01\n", "@@"),
    Case("tabs", b"code\texpire_date\nA1\t2026-01-01\n", "@@", "f.txt"),
    Case("bars", b"code|expire_date\nA1|2026-01-01\n", "@@"),
    Case("sep= line", b"sep=;\ncode;email\nA1;a,b\n", "@@"),
    Case("sep= line alone", b"sep=;\n", "@@"),
    Case(
        "wrong delimiter told",
        b"code,expire_date\nA1,2026-01-01\n",
        "@@",
        "f.csv",
        {"delimiter": ";"},
    ),
    Case(
        "wrong delimiter told, TAB right",
        b"code\texpire_date\nA1\t2026-01-01\n",
        "@@",
        "f.csv",
        {"delimiter": ","},
    ),
    Case("rare delimiter told", b"code^email\nA1^a@b\n", "@@", "f.csv", {"delimiter": "^"}),
    Case("delimiter of two", b"code,email\n", "@@", "f.csv", {"delimiter": ";;"}),
    Case("unknown delimiter", b"code^email\nA1^a@b\n", "@@"),
    Case("no header, two columns", b"A1,x\nA2,y\n", "@@"),
    Case("no header, second column empty", b"A1,\nA2,\n", "@@"),
    Case("unknown headers", b"foo,bar\nA1,x\n", "@@"),
    Case("no code column", b"email,expire_date\na@b,2026-01-01\n", "@@"),
    Case("too many cells", b"code,email\nA1,a@b,c\nA2,\n", "@@"),
    Case("too many cells, blank", b"code,email\nA1,a@b,,\n", "@@"),
    Case("too few cells", b"code,email,expire_date\nA1\nA2,a@b\n", "@@"),
    Case("comma in a line of one column", b"code\nA1,x\nA2\n", "@@"),
    Case("comma in some lines of text", b"A1\nA,2\n", "@@", "f.txt"),
    Case("comma in every line of text", b"A,1\nA,2\n", "@@", "f.txt"),
    Case(
        "comma in every line of text, told",
        b"A,1\nA,2\n",
        "@@",
        "f.txt",
        {"format": FileFormat.TXT},
    ),
    Case("a code of digits with comma decimals", b"code;email\n1,5;a@b\n", "@@"),
    Case("row of delimiters", b"code,email\n,\nA1,\n", "@@"),
    Case("no code in a row", b"code,email\n,a@b\nA2,c@d\n", "@@"),
    Case("blank code", b"code,email\n   ,a@b\n", "@@"),
    Case("two code columns", b"promo code,coupon\nA1,B1\n", "@@"),
    Case("code and its synonym", b"coupon,code\nA1,B1\n", "@@"),
    Case("same header twice", b"code,code\nA1,B1\n", "@@"),
    Case("header in capitals with blanks", b" CODE , Expires_At \nA1,2026-01-01\n", "@@"),
    Case("Russian header", RUSSIAN.encode(), "@@"),
    Case("column by number", b"x;A1\ny;A2\n", "@@", "f.csv", {"columns": {"code": 2}}),
    Case(
        "column by number, header kept", b"x;code\ny;A2\n", "@@", "f.csv", {"columns": {"code": 2}}
    ),
    Case(
        "column by header",
        b"x;Coupon number\ny;A2\n",
        "@@",
        "f.csv",
        {"columns": {"code": "coupon number"}},
    ),
    Case(
        "column by a header that is not there",
        b"x;code\ny;A2\n",
        "@@",
        "f.csv",
        {"columns": {"code": "foo"}},
    ),
    Case("column beyond the last", b"x;y\n", "@@", "f.csv", {"columns": {"code": 3}}),
    Case("column zero", b"x;y\n", "@@", "f.csv", {"columns": {"code": 0}}),
    Case("column of an unknown field", b"x;y\n", "@@", "f.csv", {"columns": {"coupon": 1}}),
    Case(
        "column by header without header",
        b"A1;B1\n",
        "@@",
        "f.csv",
        {"columns": {"code": "x"}, "has_header": False},
    ),
    Case("header told to be none", b"code\nA1\n", "@@", "f.csv", {"has_header": False}),
    Case(
        "header told to be there",
        b"foo;email\nA1;x\n",
        "@@",
        "f.csv",
        {"has_header": True, "columns": {"code": 1}},
    ),
    Case(
        "additional field",
        b"code,Color,size\nA1,red,\nA2,,\n",
        "@@",
        "f.csv",
        {"fields": ("color", "size")},
    ),
    Case(
        "additional field wins over a synonym",
        b"code,mail\nA1,red\n",
        "@@",
        "f.csv",
        {"fields": ("mail",)},
    ),
    Case("custom field by header", b"code,custom:card\nA1,77\n", "@@"),
    Case(
        "custom field by two columns", b"code,field_name,field_value\nA1,card,77\nA2,card,\n", "@@"
    ),
    Case("two custom fields in a row", b"code,custom:a,custom:b\nA1,1,2\nA2,1,\n", "@@"),
    Case("holder", b"code,db_id,profile,e-mail,phone number\nA1,1, 5F,a@b,+7\n", "@@"),
    Case(
        "database that is no number",
        b"code,db_id\nA1,x\nA2,0\nA3,99999999999\nA4,1.0\nA5,2147483647\n",
        "@@",
    ),
    Case("quote never closed", b'code,email\nA1,"a@b\nA2,c\n', "@@"),
    Case("quote never closed at the start", b'code\n"A1\nA2\n', "@@"),
    Case("quote never closed in the header", b'"code,email\nA1,b\n', "@@"),
    Case(
        "quote never closed in a large file",
        b'code,email\nA0,x\nA1,"a@b\n' + b"A2,c\n" * 300_000,
        "@@",
    ),
    Case("text after a closing quote", b'code,email\nA1,"a"b\nA2,c\n', "@@"),
    Case("quotes doubled", b'code,email\nA1,"a""b"\n', "@@"),
    Case("line end in a quoted cell", b'code,email\nA1,"a\r\nb"\nA3,x\n', "@@"),
    Case("quote in a plain cell", b'code,email\nA"1,5"\n', "@@"),
    Case("quoted codes", b'"code"\n"A,1"\n""\n"A;2"\n', "@@"),
    Case("quoted codes, one with a line end", b'"code"\n"A\n1"\nA2\n', "@@"),
    Case("quotes are text in plain text", b'"A1\nA2\n', "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("a cell of 70,000", b"code,email\nA1," + b"x" * 70_000 + b"\n", "@@"),
    Case("a quoted cell of 70,000", b'code,email\nA1,"' + b"x" * 70_000 + b'"\n', "@@"),
    Case("a quoted cell of 200,000", b'code,email\nA0,\nA1,"' + b"x" * 200_000 + b'"\n', "@@"),
    Case("a row of many cells in quotes without end", b"code,email\nA1" + b',"\n"' * 400_000, "@@"),
    Case("UTF-8 with mark", b"\xef\xbb\xbfcode\nA1\n", "@@"),
    Case("UTF-16 LE with mark", _utf16("code,email\r\nA1,\u044f\r\n"), "@@"),
    Case("UTF-16 BE with mark", b"\xfe\xff" + "code\nA1\n".encode("utf-16-be"), "@@"),
    Case("UTF-16 LE without mark", "code\nA1\n".encode("utf-16-le"), "@@"),
    Case("UTF-16 BE without mark", "code\nA1\n".encode("utf-16-be"), "@@"),
    Case("UTF-16 with an odd byte", _utf16("code\nA1\n") + b"A", "@@"),
    Case(
        "UTF-16 with half a character",
        _utf16("code\nA1\n") + b"\x00\xd8\x0a\x00" + "A3\n".encode("utf-16-le"),
        "@@",
    ),
    Case("UTF-16 cut within a pair", _utf16("code\nA1\n") + b"\x3d\xd8", "@@"),
    Case("UTF-32", b"\xff\xfe\x00\x00" + "code\n".encode("utf-32-le"), "@@"),
    Case("CP1251", RUSSIAN.encode("cp1251"), "@@"),
    Case(
        "CP1251 told, but not",
        b"code,email\nA1,\x98\n",
        "@@",
        "f.csv",
        {"encoding": Encoding.CP1251},
    ),
    Case("KOI8-R taken for CP1251", "\u043a\u043e\u0434\nA1\n".encode("koi8-r"), "@@", "f.txt"),
    Case(
        "Latin-1 is not guessed", "code,email\nA1,caf\xe9 cr\xe8me\nA2,x\n".encode("latin-1"), "@@"
    ),
    Case("a byte that is no UTF-8, late", b"code\n" + b"\n" * 300_000 + b"B\xff\nC\n", "@@"),
    Case("a byte that is no UTF-8", b"A1\nB\xff2\nA3\n", "@@", "f.txt"),
    Case("a byte that is no UTF-8 in quotes", b'code,email\nA1,"\xff"\nA2,x\n', "@@"),
    Case("an overlong zero", b"A1\nA\xc0\x802\n", "@@", "f.txt"),
    Case("a surrogate in UTF-8", b"A1\nA\xed\xa0\x802\n", "@@", "f.txt"),
    Case("UTF-8 cut within a character", "A1\nA\u044f".encode()[:-1], "@@", "f.txt"),
    Case(
        "UTF-8 told, UTF-16 there",
        _utf16("code\nA1\n"),
        "@@",
        "f.csv",
        {"encoding": Encoding.UTF_8},
    ),
    Case("a mark within", "code\nA1\n\ufeffA2\n".encode(), "@@"),
    Case("zero byte", b"code\nA1\nA\x002\n" + b"x" * 100, "@@"),
    Case("zero byte, late", b"code,email\nA1,x\n" + b"\n" * 300_000 + b"A2,a\x00b\n", "@@"),
    Case("random bytes", bytes(range(256)) * 4, "@@"),
    Case("PDF", b"%PDF-1.7\n", "@@"),
    Case("PNG", b"\x89PNG\r\n\x1a\n", "@@"),
    Case("JPEG", b"\xff\xd8\xff\xe0", "@@"),
    Case("GIF", b"GIF89a", "@@"),
    Case("7z", b"7z\xbc\xaf\x27\x1c\x00", "@@"),
    Case("RAR", b"Rar!\x1a\x07\x00", "@@"),
    Case("bzip2", b"BZh91AY", "@@"),
    Case("xz", b"\xfd7zXZ\x00\x00", "@@"),
    Case("zstd", b"\x28\xb5\x2f\xfd\x00", "@@"),
    Case("SQLite", b"SQLite format 3\x00", "@@"),
    Case("Parquet", b"PAR1\x15", "@@"),
    Case("RTF", b"{\\rtf1 code}", "@@"),
    Case("HTML", b"<html><table><tr><td>code", "@@", "f.xls"),
    Case("HTML with doctype", b"\n<!DOCTYPE html>", "@@", "f.xls"),
    Case("XML spreadsheet", b'<?xml version="1.0"?><Workbook>', "@@", "f.xls"),
    Case("Excel 97", _ole("Root Entry", "Workbook"), "@@", "f.xls"),
    Case(
        "encrypted XLSX", _ole("Root Entry", "EncryptionInfo", "EncryptedPackage"), "@@", "f.xlsx"
    ),
    Case("Word 97", _ole("Root Entry", "WordDocument"), "@@", "f.doc"),
    Case("OLE, cut off", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "@@", "f.xls"),
    Case("gzip", gzip.compress(b"code\nA1\n", mtime=0), "@@"),
    Case(
        "gzip of two members",
        gzip.compress(b"code\nA1\n", mtime=0) + gzip.compress(b"A2\n", mtime=0),
        "@@",
        "f.csv.gz",
    ),
    Case("gzip cut off", GZIPPED[:-20], "@@", "f.csv.gz"),
    Case("gzip cut off in its header", GZIPPED[:5], "@@", "f.csv.gz"),
    Case("gzip with a wrong sum", GZIPPED[:-8] + bytes(4) + GZIPPED[-4:], "@@", "f.csv.gz"),
    Case(
        "gzip damaged in the middle", GZIPPED[:30] + b"\xff" * 20 + GZIPPED[50:], "@@", "f.csv.gz"
    ),
    Case("gzip with something after it", GZIPPED + b"more", "@@", "f.csv.gz"),
    Case("gzip within gzip", gzip.compress(GZIPPED, mtime=0), "@@", "f.csv.gz"),
    Case("gzip bomb", gzip.compress(b"\n" * (128 << 20), 9, mtime=0), "@@", "f.txt.gz"),
    Case("gzip of an XLSX", gzip.compress(XLSX, mtime=0), "@@", "f.xlsx.gz"),
    Case("gzip of a PDF", gzip.compress(b"%PDF-1.7", mtime=0), "@@", "f.csv.gz"),
    Case("a first line of 300,000", b"x" * 300_000, "@@", "f.txt"),
    Case("a second line of 2 million", b"A1\n" + b"x" * 2_000_000 + b"\nA3\n", "@@", "f.txt"),
    Case(
        "a second line of 2 million, carriage returns",
        b"A1\r" + b"x" * 2_000_000 + b"\rA3\r",
        "@@",
        "f.txt",
    ),
    Case("a line of a mebibyte and one", b"A1\n" + b"x" * (BIG + 1) + b"\nA3\n", "@@", "f.txt"),
    Case("a day", b"code,expire_date\nA1,2026-01-01\n", "@@"),
    Case("a day in dots", b"code,expire_date\nA1,01.02.2026\n", "@@"),
    Case("day and minute", b"code,expire_date\nA1,2026-01-01 10:30\n", "@@"),
    Case("day and second with T", b"code,expire_date\nA1,2026-01-01T10:30:15\n", "@@"),
    Case("dots and second", b"code,expire_date\nA1,1.1.2026 0:00:01\n", "@@"),
    Case("a zone", b"code,expire_date\nA1,2026-01-01T00:00:00Z\n", "@@"),
    Case("a zone with blank", b"code,expire_date\nA1,2026-01-01 00:00:00+03:00\n", "@@"),
    Case("a serial number", b"code,expire_date\nA1,46023\n", "@@"),
    Case("a serial number with hours", b"code,expire_date\nA1,46023.5\n", "@@"),
    Case("month and day swapped by slashes", b"code,expire_date\nA1,01/02/2026\n", "@@"),
    Case("an American date", b"code,expire_date\nA1,2/1/2026\n", "@@"),
    Case("two-digit year", b"code,expire_date\nA1,01.02.26\n", "@@"),
    Case("no such day", b"code,expire_date\nA1,2026-02-30\n", "@@"),
    Case("no such month", b"code,expire_date\nA1,2026-13-01\n", "@@"),
    Case("no such hour", b"code,expire_date\nA1,2026-01-01 24:00\n", "@@"),
    Case("year 0", b"code,expire_date\nA1,0000-01-01\n", "@@"),
    Case("year 10000", b"code,expire_date\nA1,10000-01-01\n", "@@"),
    Case("the last day", b"code,expire_date\nA1,9999-12-31\n", "@@"),
    Case("the last second", b"code,expire_date\nA1,9999-12-31 23:59:59\n", "@@"),
    Case("words", b"code,expire_date\nA1,tomorrow\n", "@@"),
    Case("eight digits", b"code,expire_date\nA1,20260101\n", "@@"),
    Case("a week", b"code,expire_date\nA1,2026-W01-1\n", "@@"),
    Case("only a time", b"code,expire_date\nA1,10:30\n", "@@"),
    Case("a negative number", b"code,expire_date\nA1,-1\n", "@@"),
    Case("a Unix time", b"code,expire_date\nA1,1767225600\n", "@@"),
    Case("fraction of a second", b"code,expire_date\nA1,2026-01-01 00:00:00.5\n", "@@"),
    Case("Arabic digits", "code,expire_date\nA1,\u0662\u0660\u0662\u0666-01-01\n".encode(), "@@"),
    Case(
        "a day in Moscow",
        b"code,expire_date\nA1,2026-01-01\n",
        "@@",
        "f.csv",
        {"time_zone": "Europe/Moscow"},
    ),
    Case(
        "a time that the clocks skip",
        b"code,expire_date\nA1,2026-03-29 02:30\n",
        "@@",
        "f.csv",
        {"time_zone": "Europe/Berlin"},
    ),
    Case(
        "a time that comes twice",
        b"code,expire_date\nA1,2026-10-25 02:30\n",
        "@@",
        "f.csv",
        {"time_zone": "Europe/Berlin"},
    ),
    Case(
        "the first day, east of Greenwich",
        b"code,expire_date\nA1,0001-01-01 00:00\n",
        "@@",
        "f.csv",
        {"time_zone": "Asia/Tokyo"},
    ),
    Case("no such time zone", b"code\nA1\n", "@@", "f.csv", {"time_zone": "Mars/Olympus"}),
    Case(
        "a time zone that is a path", b"code\nA1\n", "@@", "f.csv", {"time_zone": "../etc/passwd"}
    ),
    Case(
        "two bad dates",
        b"code,expire_date,attached\nA1,x,2026-01-01\nA2,2026-01-01,y\nA3,,\n",
        "@@",
    ),
    Case("damaged: a rounded number", b"1.23E+11\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case(
        "damaged: a rounded number with comma",
        b"1\x2c23E+11\nA2\n",
        "@@",
        "f.txt",
        {"format": FileFormat.TXT},
    ),
    Case("damaged: an error", b"#N/A\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: a reference error", b"#REF!\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: hashes", b"########\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: a formula", b"=A1\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: a call", b"=SUM(A1:A2)\nA2\n", "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: a text formula", b'="00123"\nA2\n', "@@", "f.txt", {"format": FileFormat.TXT}),
    Case("damaged: a Russian date", "01.\u043c\u0430\u0439\nA2\n".encode(), "@@", "f.txt"),
    Case("damaged: a Russian error", "#\u041d/\u0414\nA2\n".encode(), "@@", "f.txt"),
    Case("damaged, in a table", b"code,email\n1.23E+11,a@b\nA2,c\n", "@@"),
    Case("damaged, accepted", b"1.23E+11\nA2\n", "@@", "f.txt", {"accept_damaged": True}),
    Case(
        "not damaged",
        b"5-JAN\n1E5\nE+5\n#1\n=\n==\nA=B\n1.5\n00012\n",
        "@@",
        "f.txt",
        {"format": FileFormat.TXT},
    ),
    Case("guarded formula", b"\xef\xbb\xbfcode,email\r\n'=A1x,'+7\r\n''-x,'y\r\n", "@@"),
    Case("guard without mark stays", b"code,email\r\n'+A1,'+7\r\n", "@@"),
    Case(
        "JSON Lines",
        b'{"code": "A1", "expire_date": "2026-01-01"}\n\n{"code": 12}\n',
        "@@",
        "f.jsonl",
    ),
    Case(
        "JSON Lines with bad lines",
        b'{"code": "A1"}\n{"code": \n{"code": "A3",}\n[1]\n"A5"\nnull\n{}\n',
        "@@",
        "f.jsonl",
    ),
    Case(
        "JSON Lines with wrong types",
        b"".join(
            b'{"code": %s}\n' % v
            for v in (
                b'"A1"',
                b"1.5",
                b"1e3",
                b"true",
                b"null",
                b'["x"]',
                b"{}",
                b"NaN",
                b"99999999999999999999",
            )
        ),
        "@@",
        "f.jsonl",
    ),
    Case(
        "JSON Lines, a date as number", b'{"code": "A1", "expire_date": 46023}\n', "@@", "f.jsonl"
    ),
    Case(
        "JSON Lines, a key twice",
        b'{"code": "A1", "code": "A2"}\n{"code": "A1", "code": "A1"}\n',
        "@@",
        "f.jsonl",
    ),
    Case("JSON Lines, a synonym twice", b'{"code": "A1", "coupon": "A2"}\n', "@@", "f.jsonl"),
    Case(
        "JSON Lines, nested field",
        b'{"code": "A1", "color": {"a": 1}, "else": [1]}\n',
        "@@",
        "f.jsonl",
        {"fields": ("color",)},
    ),
    Case(
        "JSON Lines, fields of all types",
        b'{"code": "A1", "color": 5}\n{"code": "A2", "color": true}\n{"code": "A3", "color": 1.5}\n{"code": "A4", "color": null}\n',
        "@@",
        "f.jsonl",
        {"fields": ("color",)},
    ),
    Case("JSON Lines without a code", b'{"foo": 1}\n', "@@", "f.jsonl"),
    Case(
        "JSON Lines, deep",
        b'{"code": "A1"}\n' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"\n",
        "@@",
        "f.jsonl",
    ),
    Case(
        "JSON Lines, absurdly deep", b'{"code": "A1"}\n' + b"[" * 100_000 + b"\n", "@@", "f.jsonl"
    ),
    Case(
        "JSON Lines, zero in a field",
        b'{"code": "A1", "color": "a\\u0000b"}\n',
        "@@",
        "f.jsonl",
        {"fields": ("color",)},
    ),
    Case("JSON Lines, lone surrogate", b'{"code": "A\\ud8001"}\n{"code": "A2"}\n', "@@", "f.jsonl"),
    Case("JSON Lines, not UTF-8", b'{"code": "A1"}\n{"code": "\xff"}\n', "@@", "f.jsonl"),
    Case("JSON Lines by number", b'{"code": "A1"}\n', "@@", "f.jsonl", {"columns": {"code": 1}}),
    Case("JSON Lines by key", b'{"n": "A1"}\n', "@@", "f.jsonl", {"columns": {"code": "n"}}),
    Case("a JSON list", b'[{"code": "A1"}]', "@@", "f.json"),
    Case("a JSON document over several lines", b'{\n  "code": "A1"\n}\n', "@@", "f.json"),
    Case("XLSX", XLSX, "@@", "f.xlsx"),
    Case("XLSX called CSV", XLSX, "@@"),
    Case("XLSX told to be CSV", XLSX, "@@", "f.csv", {"format": FileFormat.CSV}),
    Case("CSV told to be XLSX", b"code\nA1\n", "@@", "f.csv", {"format": FileFormat.XLSX}),
    Case("XLSX cut off", XLSX[:-100], "@@", "f.xlsx"),
    Case("XLSX cut off at the start", XLSX[:50], "@@", "f.xlsx"),
    Case(
        "XLSX damaged in the middle",
        XLSX[: len(XLSX) // 2] + b"\xff" * 9 + XLSX[len(XLSX) // 2 + 9 :],
        "@@",
        "f.xlsx",
    ),
    Case("encrypted archive", _encrypted_zip(), "@@", "f.xlsx"),
    Case("an archive of CSV", archive({"codes.csv": "code"}), "@@", "f.zip"),
    Case("XLSB", archive({"xl/workbook.bin": ""}), "@@", "f.xlsb"),
    Case("OpenDocument", archive({"mimetype": "", "content.xml": ""}), "@@", "f.ods"),
    Case("Word", archive({"word/document.xml": "", "_rels/.rels": ""}), "@@", "f.docx"),
    Case(
        "archive with relations only", archive({"_rels/.rels": "<Relationships/>"}), "@@", "f.xlsx"
    ),
    Case("archive of many parts", _many_parts(), "@@", "f.xlsx"),
    Case("empty archive", archive({}), "@@", "f.zip"),
    Case(
        "XLSX with macros",
        workbook(codes("A1"), parts={"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0"}),
        "@@",
        "f.xlsm",
    ),
    Case("XLSX, empty", workbook(sheet()), "@@", "f.xlsx"),
    Case("XLSX, no sheet", workbook(), "@@", "f.xlsx"),
    Case("XLSX, header only", workbook(codes()), "@@", "f.xlsx"),
    Case("XLSX, first sheet empty", workbook(sheet(), codes("A1")), "@@", "f.xlsx"),
    Case(
        "XLSX, sheet by name",
        workbook(("One", codes("A1")), ("Two", codes("B1"))),
        "@@",
        "f.xlsx",
        {"sheet": "two"},
    ),
    Case(
        "XLSX, sheet by number",
        workbook(("One", codes("A1")), ("Two", codes("B1"))),
        "@@",
        "f.xlsx",
        {"sheet": "2"},
    ),
    Case(
        "XLSX, no such sheet",
        workbook(("One", codes("A1")), ("Two", codes("B1"))),
        "@@",
        "f.xlsx",
        {"sheet": "Three"},
    ),
    Case(
        "XLSX, other sheets are left alone",
        workbook(("One", codes("A1")), ("Two", codes("B1"))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, sheets that go on",
        workbook(("codes", codes("A1")), ("codes 2", codes("B1"))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a sheet of the name with another header",
        workbook(("codes", codes("A1")), ("codes 2", sheet(row(1, text("A1", "x"))))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, numbers as codes",
        workbook(
            sheet(
                row(1, text("A1", "code")),
                row(2, number("A2", 123)),
                row(3, number("A3", "123.0")),
                row(4, number("A4", "1.5")),
                row(5, number("A5", 999999999999999)),
                row(6, number("A6", 1234567890123456)),
                row(7, number("A7", "1.23456789012346E+17")),
                row(8, number("A8", "abc")),
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, dates as codes",
        workbook(
            sheet(
                row(1, text("A1", "code")),
                row(2, number("A2", 46023, 1)),
                row(3, number("A3", 46023, 2)),
                row(4, number("A4", 46023, 3)),
                row(5, number("A5", 46023, 4)),
            ),
            parts={"xl/styles.xml": DATE_STYLES},
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, dates as dates",
        workbook(
            sheet(
                row(1, text("A1", "code"), text("B1", "expires")),
                row(2, text("A2", "A2"), number("B2", 46023, 1)),
                row(3, text("A3", "A3"), number("B3", 46023.25)),
                row(4, text("A4", "A4"), number("B4", 60)),
                row(5, text("A5", "A5"), number("B5", 9999999)),
                row(6, text("A6", "A6"), text("B6", "01.01.2026")),
                row(7, text("A7", "A7"), number("B7", "x")),
            ),
            parts={"xl/styles.xml": DATE_STYLES},
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, days since 1904",
        workbook(
            sheet(
                row(1, text("A1", "code"), text("B1", "expires")),
                row(2, text("A2", "A2"), number("B2", 44561)),
            ),
            properties='<workbookPr date1904="1"/>',
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a date as additional data",
        workbook(
            sheet(
                row(1, text("A1", "code"), text("B1", "since")),
                row(2, text("A2", "A2"), number("B2", 46023, 1)),
                row(3, text("A3", "A3"), number("B3", 46023.5, 1)),
            ),
            parts={"xl/styles.xml": DATE_STYLES},
        ),
        "@@",
        "f.xlsx",
        {"fields": ("since",)},
    ),
    Case(
        "XLSX, formulas",
        workbook(
            sheet(
                row(1, text("A1", "code")),
                row(2, '<c r="A2" t="str"><f>B1</f><v>F2</v></c>'),
                row(3, '<c r="A3"><f>B1</f></c>'),
                row(4, '<c r="A4"><f>1+1</f><v>2</v></c>'),
                row(5, '<c r="A5" t="e"><f>1/0</f><v>#DIV/0!</v></c>'),
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, true and false",
        workbook(sheet(row(1, text("A1", "code")), row(2, '<c r="A2" t="b"><v>1</v></c>'))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, shared texts",
        workbook(
            sheet(
                row(1, '<c r="A1" t="s"><v>0</v></c>'),
                row(2, '<c r="A2" t="s"><v>1</v></c>'),
                row(3, '<c r="A3" t="s"><v>7</v></c>'),
            ),
            parts={
                "xl/sharedStrings.xml": f"<sst {MAIN}><si><t>code</t></si><si><r><t>A</t></r><r><t>1</t></r><rPh><t>x</t></rPh></si></sst>"
            },
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, gaps between rows",
        workbook(
            sheet(
                row(3, text("A3", "code")),
                row(7, text("A7", "A7")),
                row(1000000, text("A1000000", "Z")),
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, cells without places",
        workbook(
            sheet(
                '<row><c t="inlineStr"><is><t>code</t></is></c></row><row><c t="inlineStr"><is><t>A2</t></is></c></row>'
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, prefixes",
        workbook(
            f'<x:worksheet xmlns:x="{MAIN[7:-1]}"><x:sheetData><x:row r="1"><x:c r="A1" t="str"><x:v>code</x:v></x:c></x:row><x:row r="2"><x:c r="A2" t="str"><x:v>A2</x:v></x:c></x:row></x:sheetData></x:worksheet>'
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a note beside the table",
        workbook(
            sheet(
                row(1, text("A1", "code"), text("B1", "email")),
                row(2, text("A2", "A2"), text("H2", "see here")),
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, the table starts in column C",
        workbook(sheet(row(2, text("C2", "code")), row(3, text("C3", "A3")))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, merged cells",
        workbook(
            sheet(
                row(1, text("A1", "code"), text("B1", "email")),
                row(2, text("A2", "A2"), text("B2", "a")),
                row(3, text("B3", "b")),
                after='<mergeCells><mergeCell ref="A2:A3"/></mergeCells>',
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a hidden column",
        workbook(
            sheet(
                row(1, text("A1", "email"), text("B1", "code")),
                row(2, text("B2", "A2")),
                before='<cols><col min="2" max="2" hidden="1"/></cols>',
            )
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a column beyond the last",
        workbook(sheet(row(1, text("ZZZZ1", "code")))),
        "@@",
        "f.xlsx",
    ),
    Case("XLSX, a place that is none", workbook(sheet(row(1, text("11", "code")))), "@@", "f.xlsx"),
    Case(
        "XLSX, a row beyond the last",
        workbook(sheet(row(1, text("A1", "code")), row(1048577, text("A1", "x")))),
        "@@",
        "f.xlsx",
    ),
    Case("XLSX, escapes", workbook(codes("a_x000D_b", "_x005F_x0041_", "_xD800_")), "@@", "f.xlsx"),
    Case("XLSX, no XML", workbook("nothing"), "@@", "f.xlsx"),
    Case(
        "XLSX, XML cut off",
        workbook(sheet(row(1, text("A1", "code")), row(2, text("A2", "A2")))[:-30]),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, entities",
        workbook('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + codes("&b;")),
        "@@",
        "f.xlsx",
    ),
    Case("XLSX, nested deep", workbook(sheet("<a>" * 5000 + "</a>" * 5000)), "@@", "f.xlsx"),
    Case("XLSX, a cell of 70,000", workbook(codes("x" * 70_000)), "@@", "f.xlsx"),
    Case(
        "XLSX, a bomb of rows",
        _bomb(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {MAIN}><sheetData>",
            "<row/>",
            "</sheetData></worksheet>",
        ),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a bomb in an attribute",
        _bomb("xl/worksheets/sheet1.xml", f'<worksheet {MAIN} a="', "x" * 1024, '"/>'),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a bomb of shared texts",
        _bomb("xl/sharedStrings.xml", f"<sst {MAIN}>", "<si><t/></si>", "</sst>"),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, a bomb of spaces",
        _bomb("xl/styles.xml", f"<styleSheet {MAIN}>", " " * 1024, "</styleSheet>"),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX without a code column",
        workbook(sheet(row(1, text("A1", "x"), text("B1", "email")), row(2, text("A2", "A2")))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, no header, one column",
        workbook(sheet(row(1, text("A1", "A1")), row(2, text("A2", "A2")))),
        "@@",
        "f.xlsx",
    ),
    Case(
        "XLSX, no code in a row",
        workbook(sheet(row(1, text("A1", "code"), text("B1", "email")), row(2, text("B2", "a")))),
        "@@",
        "f.xlsx",
    ),
]

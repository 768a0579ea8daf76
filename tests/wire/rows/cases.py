# ruff: noqa: E501, RUF001 - the files are data: long lines and letters of any script
"""Damaged and strange files, and what becomes of each."""

import gzip
import io
import zipfile
from typing import Any, BinaryIO, NamedTuple

from promint.domain.errors import BadValue
from promint.wire.rows import (
    Encoding,
    FileFormat,
    PlainChunk,
    ReadOptions,
    open_rows,
)
from promint.wire.rows.dates import ADVICE
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
    file: str
    options: dict[str, Any]


def case(name: str, content: bytes, expected: str, file: str = "f.csv", **options: Any) -> Case:
    """Return a case; `options` are those of `ReadOptions`."""
    return Case(name, content, expected, file, options)


def outcome(case: Case, file: BinaryIO | None = None) -> str:
    """Return `!` and the sentence that ends the file; before it the codes and the rejects.

    A code is `LINE:CODE`, with its date if it has one; a reject is `LINE? REASON`.
    """
    found: list[str] = []
    try:
        options = ReadOptions(**case.options)
        file = file or io.BytesIO(case.content)
        with open_rows(file, name=case.file, options=options) as reader:
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

# fmt: off
TEXTS = [
    case("empty", b"", "! f.csv: the file is empty"),
    case("empty gzip", gzip.compress(b"", mtime=0),
         "! f.csv.gz: the file is empty", "f.csv.gz"),
    case("blank lines only", b"\n\r\n  \n",
         "! f.csv: the file holds nothing but blank lines"),
    case("only a byte order mark", b"\xef\xbb\xbf",
         "! f.csv: the file holds nothing but blank lines"),
    case("only a mark of UTF-16", b"\xff\xfe",
         "! f.csv: the file holds nothing but blank lines"),
    case("header only", b"code\n", "! f.csv: the file has a header, but no row"),
    case("header only, no line end", b"code,expire_date",
         "! f.csv: the file has a header, but no row"),
    case("header and blank lines", b"code,expire_date\n\n,\n",
         "! f.csv: the file has a header, but no row"),
    case("one code, no line end", b"A1", "1:A1", "f.txt"),
    case("one character", b"A", "1:A", "f.txt"),
    case("text of spaces", b"   ",
         "! f.txt: the file holds nothing but blank lines", "f.txt"),
    case("mixed line ends", b"code\rA1\nA2\r\nA3\r\rA4", "2:A1; 3:A2; 4:A3; 6:A4"),
    case("mixed line ends in a table", b"code,email\rA1,a@b\nA2,\r\n\nA4,c@d",
         "2:A1 a@b; 3:A2; 5:A4 c@d"),
    case("carriage returns only", b"A1\rA2\rA3\r", "1:A1; 2:A2; 3:A3", "f.txt"),
    case("blank lines between", b"code\n\nA1\n\n\nA2\n", "3:A1; 6:A2"),
    case("line feed then carriage return", b"A1\n\rA2\n\r", "1:A1; 3:A2", "f.txt"),
    case("form feed is no line end", b"A1\x0cA2\n", "1:A1\x0cA2", "f.txt"),
    case("line separator is no line end", "A1\u2028A2\n".encode(),
         "1:A1\u2028A2", "f.txt"),
    case("next line is no line end", "code,email\nA1,a\x85b\n".encode(), "2:A1 a\x85b"),
    case("semicolons", b"code;expire_date\nA1;2026-01-01\n", "2:A1@1"),
    case("tabs", b"code\texpire_date\nA1\t2026-01-01\n", "2:A1@1", "f.txt"),
    case("bars", b"code|expire_date\nA1|2026-01-01\n", "2:A1@1"),
    case("sep= line", b"sep=;\ncode;email\nA1;a,b\n", "3:A1 a,b"),
    case("sep= line alone", b"sep=;\n", "! f.csv: the file holds nothing but blank lines"),
    case("wrong delimiter told", b"code,expire_date\nA1,2026-01-01\n",
         "! f.csv, line 1: the delimiter does not occur in the first row, but comma does; leave the option out, or name that one", delimiter=";"),
    case("wrong delimiter told, TAB right", b"code\texpire_date\nA1\t2026-01-01\n",
         "! f.csv, line 1: the delimiter does not occur in the first row, but tab does; leave the option out, or name that one", delimiter=","),
    case("rare delimiter told", b"code^email\nA1^a@b\n", "2:A1 a@b", delimiter="^"),
    case("delimiter of two", b"code,email\n",
         "! f.csv: the delimiter is not one character", delimiter=";;"),
    case("unknown delimiter", b"code^email\nA1^a@b\n",
         "! f.csv, line 1, column 5: the columns seem to stand between '^'; put commas, semicolons, tabs or pipes there"),
    case("no header, two columns", b"A1,x\nA2,y\n",
         "! f.csv, line 1: no column holds the code: the first row is 'A1', 'x'; say which with --column code=NUMBER, or --format txt if each line is a code"),
    case("no header, second column empty", b"A1,\nA2,\n", "1:A1; 2:A2"),
    case("unknown headers", b"foo,bar\nA1,x\n",
         "! f.csv, line 1: no column holds the code: the first row is 'foo', 'bar'; say which with --column code=NUMBER, or --format txt if each line is a code"),
    case("no code column", b"email,expire_date\na@b,2026-01-01\n",
         "! f.csv, line 1: no column holds the code: the first row is 'email', 'expire_date'; say which with --column code=NUMBER, or --format txt if each line is a code"),
    case("too many cells", b"code,email\nA1,a@b,c\nA2,\n",
         "3:A2; 2? 3 cells where the first row has 2; a cell with the delimiter needs quotes"),
    case("too many cells, blank", b"code,email\nA1,a@b,,\n", "2:A1 a@b"),
    case("too few cells", b"code,email,expire_date\nA1\nA2,a@b\n", "2:A1; 3:A2 a@b"),
    case("comma in a line of one column", b"code\nA1,x\nA2\n", "2:A1,x; 3:A2"),
    case("comma in some lines of text", b"A1\nA,2\n", "1:A1; 2:A,2", "f.txt"),
    case("comma in every line of text", b"A,1\nA,2\n",
         "! f.txt, line 1: no column holds the code: the first row is 'A', '1'; say which with --column code=NUMBER, or --format txt if each line is a code", "f.txt"),
    case("comma in every line of text, told", b"A,1\nA,2\n",
         "1:A,1; 2:A,2", "f.txt", format=FileFormat.TXT),
    case("a code of digits with comma decimals", b"code;email\n1,5;a@b\n", "2:1,5 a@b"),
    case("row of delimiters", b"code,email\n,\nA1,\n", "3:A1"),
    case("no code in a row", b"code,email\n,a@b\nA2,c@d\n",
         "3:A2 c@d; 2? column 'code': no code"),
    case("blank code", b"code,email\n   ,a@b\n", "2? column 'code': no code"),
    case("two code columns", b"promo code,coupon\nA1,B1\n",
         "! f.csv, line 1: columns 1 ('promo code') and 2 ('coupon') could both be code; name one: --column code=NUMBER"),
    case("code and its synonym", b"coupon,code\nA1,B1\n", "2:B1"),
    case("same header twice", b"code,code\nA1,B1\n",
         "! f.csv, line 1: columns 1 ('code') and 2 ('code') could both be code; name one: --column code=NUMBER"),
    case("header in capitals with blanks", b" CODE , Expires_At \nA1,2026-01-01\n",
         "2:A1@1"),
    case("Russian header", RUSSIAN.encode(), "2:ВЕСНА@365"),
    case("column by number", b"x;A1\ny;A2\n", "1:A1; 2:A2", columns={"code": 2}),
    case("column by number, header kept", b"x;code\ny;A2\n", "2:A2", columns={"code": 2}),
    case("column by header", b"x;Coupon number\ny;A2\n",
         "2:A2", columns={"code": "coupon number"}),
    case("column by a header that is not there", b"x;code\ny;A2\n",
         "! f.csv, line 1: no column is called 'foo'", columns={"code": "foo"}),
    case("column beyond the last", b"x;y\n",
         "! f.csv, line 1: there is no column 3 for code: the first row has 2", columns={"code": 3}),
    case("column zero", b"x;y\n",
         "! f.csv, line 1: there is no column 0 for code: the first row has 2", columns={"code": 0}),
    case("column of an unknown field", b"x;y\n",
         "! no such field; there are code, expire_date, attached, activated, database_id, profile_id, email, phone, field_name, field_value, custom:NAME, column coupon", columns={"coupon": 1}),
    case("column by header without header", b"A1;B1\n",
         "! f.csv, line 1: no column is called 'x': the file has no header", columns={"code": "x"}, has_header=False),
    case("header told to be none", b"code\nA1\n", "1:code; 2:A1", has_header=False),
    case("header told to be there", b"foo;email\nA1;x\n",
         "2:A1 x", has_header=True, columns={"code": 1}),
    case("additional field", b"code,Color,size\nA1,red,\nA2,,\n",
         '2:A1 {"color":"red"}; 3:A2', fields=("color", "size")),
    case("additional field wins over a synonym", b"code,mail\nA1,red\n",
         '2:A1 {"mail":"red"}', fields=("mail",)),
    case("custom field by header", b"code,custom:card\nA1,77\n",
         "2:A1 ('card', '77')"),
    case("custom field by two columns", b"code,field_name,field_value\nA1,card,77\nA2,card,\n",
         "2:A1 ('card', '77'); 3:A2"),
    case("two custom fields in a row", b"code,custom:a,custom:b\nA1,1,2\nA2,1,\n",
         "3:A2 ('a', '1'); 2? two custom fields; leave one"),
    case("holder", b"code,db_id,profile,e-mail,phone number\nA1,1, 5F,a@b,+7\n",
         "2:A1 1 5F a@b +7"),
    case("database that is no number", b"code,db_id\nA1,x\nA2,0\nA3,99999999999\nA4,1.0\nA5,2147483647\n",
         "6:A5 2147483647; 2? column 'db_id': not a number from 1 to 2147483647; 3? column 'db_id': not a number from 1 to 2147483647; 4? column 'db_id': not a number from 1 to 2147483647; 5? column 'db_id': not a number from 1 to 2147483647"),
    case("quote never closed", b'code,email\nA1,"a@b\nA2,c\n',
         "! f.csv, line 2, column 2: a quote opened here is never closed; close it, or write a quote within a cell twice"),
    case("quote never closed at the start", b'code\n"A1\nA2\n',
         "! f.csv, line 2, column 1: a quote opened here is never closed; close it, or write a quote within a cell twice"),
    case("quote never closed in the header", b'"code,email\nA1,b\n',
         "! f.csv, line 1, column 1: the first row has a quote that is never closed; close it, or write a quote within a cell twice"),
    case("quote never closed in a large file", b'code,email\nA0,x\nA1,"a@b\n' + b"A2,c\n" * 300_000,
         "! f.csv, line 3, column 2: a quote opened here is never closed; close it, or write a quote within a cell twice"),
    case("text after a closing quote", b'code,email\nA1,"a"b\nA2,c\n',
         "3:A2 c; 2? text after a closing quote; a quote within a cell is written twice"),
    case("quotes doubled", b'code,email\nA1,"a""b"\n', '2:A1 a"b'),
    case("line end in a quoted cell", b'code,email\nA1,"a\r\nb"\nA3,x\n',
         "2:A1 a\r\nb; 4:A3 x"),
    case("quote in a plain cell", b'code,email\nA"1,5"\n', '2:A"1 5"'),
    case("quoted codes", b'"code"\n"A,1"\n""\n"A;2"\n', "2:A,1; 4:A;2"),
    case("quoted codes, one with a line end", b'"code"\n"A\n1"\nA2\n', "2:A\n1; 4:A2"),
    case("quotes are text in plain text", b'"A1\nA2\n',
         '1:"A1; 2:A2', "f.txt", format=FileFormat.TXT),
    case("a cell of 70,000", b"code,email\nA1," + b"x" * 70_000 + b"\n",
         "! f.csv, line 2, column 2: a cell of over 65,536 characters; a quote before it may not be closed"),
    case("a quoted cell of 70,000", b'code,email\nA1,"' + b"x" * 70_000 + b'"\n',
         "! f.csv, line 2, column 2: a cell of over 65,536 characters; a quote before it may not be closed"),
    case("a quoted cell of 200,000", b'code,email\nA0,\nA1,"' + b"x" * 200_000 + b'"\n',
         "! f.csv, line 3, column 2: a cell of over 65,536 characters; a quote before it may not be closed"),
    case("a row of many cells in quotes without end", b"code,email\nA1" + b',"\n"' * 400_000,
         "! f.csv, line 2, column 2: a quote opened here is not closed for 1,600,001 characters; close it, or write a quote within a cell twice"),
    case("UTF-8 with mark", b"\xef\xbb\xbfcode\nA1\n", "2:A1"),
    case("UTF-16 LE with mark", _utf16("code,email\r\nA1,\u044f\r\n"), "2:A1 я"),
    case("UTF-16 BE with mark", b"\xfe\xff" + "code\nA1\n".encode("utf-16-be"), "2:A1"),
    case("UTF-16 LE without mark", "code\nA1\n".encode("utf-16-le"), "2:A1"),
    case("UTF-16 BE without mark", "code\nA1\n".encode("utf-16-be"), "2:A1"),
    case("UTF-16 with an odd byte", _utf16("code\nA1\n") + b"A",
         "2:A1; ! f.csv, line 3: the file ends in the middle of a character: UTF-16 has two bytes for each; get it again, whole"),
    case("UTF-16 with half a character", _utf16("code\nA1\n") + b"\x00\xd8\x0a\x00" + "A3\n".encode("utf-16-le"),
         "2:A1; 4:A3; 3? not UTF-16-LE: half a character (0xD800) as character 1; save the file as UTF-8, or name its encoding"),
    case("UTF-16 cut within a pair", _utf16("code\nA1\n") + b"\x3d\xd8",
         "2:A1; 3? not UTF-16-LE: half a character (0xD83D) as character 1; save the file as UTF-8, or name its encoding"),
    case("UTF-32", b"\xff\xfe\x00\x00" + "code\n".encode("utf-32-le"),
         "! f.csv: this is UTF-32; save the file as UTF-8"),
    case("CP1251", RUSSIAN.encode("cp1251"), "2:ВЕСНА@365"),
    case("CP1251 told, but not", b"code,email\nA1,\x98\n",
         "2? not CP1251: byte 0x98 as character 4; save the file as UTF-8, or name its encoding", encoding=Encoding.CP1251),
    case("KOI8-R taken for CP1251", "\u043a\u043e\u0434\nA1\n".encode("koi8-r"),
         "1:ЛПД; 2:A1", "f.txt"),
    case("Latin-1 is not guessed", "code,email\nA1,caf\xe9 cr\xe8me\nA2,x\n".encode("latin-1"),
         "3:A2 x; 2? not UTF-8: byte 0xE9 as character 7; save the file as UTF-8, or name its encoding"),
    case("a byte that is no UTF-8, late", b"code\n" + b"\n" * 300_000 + b"B\xff\nC\n",
         "300003:C; 300002? not UTF-8: byte 0xFF as character 2; save the file as UTF-8, or name its encoding"),
    case("a byte that is no UTF-8", b"A1\nB\xff2\nA3\n",
         "1:A1; 3:A3; 2? not UTF-8: byte 0xFF as character 2; save the file as UTF-8, or name its encoding", "f.txt"),
    case("a byte that is no UTF-8 in quotes", b'code,email\nA1,"\xff"\nA2,x\n',
         "3:A2 x; 2? not UTF-8: byte 0xFF as character 5; save the file as UTF-8, or name its encoding"),
    case("an overlong zero", b"A1\nA\xc0\x802\n",
         "1:A1; 2? not UTF-8: byte 0xC0 as character 2; save the file as UTF-8, or name its encoding", "f.txt"),
    case("a surrogate in UTF-8", b"A1\nA\xed\xa0\x802\n",
         "1:A1; 2? not UTF-8: byte 0xED as character 2; save the file as UTF-8, or name its encoding", "f.txt"),
    case("UTF-8 cut within a character", "A1\nA\u044f".encode()[:-1],
         "1:A1; 2? not UTF-8: byte 0xD1 as character 2; save the file as UTF-8, or name its encoding", "f.txt"),
    case("UTF-8 told, UTF-16 there", _utf16("code\nA1\n"),
         "! f.csv, line 1: the file begins with the mark of UTF-16-LE, not UTF-8; leave the encoding out", encoding=Encoding.UTF_8),
    case("a mark within", "code\nA1\n\ufeffA2\n".encode(), "2:A1; 3:\ufeffA2"),
    case("zero byte", b"code\nA1\nA\x002\n" + b"x" * 100,
         "! f.csv, line 3: a zero byte (byte 10): this is no text; save the table as CSV or XLSX"),
    case("zero byte, late", b"code,email\nA1,x\n" + b"\n" * 300_000 + b"A2,a\x00b\n",
         "2:A1 x; 300003? column 'email': holds a NUL character"),
    case("random bytes", bytes(range(256)) * 4,
         "! f.csv, line 1: a zero byte (byte 1): this is no text; save the table as CSV or XLSX"),
    case("PDF", b"%PDF-1.7\n",
         "! f.csv: this is a PDF; save the table itself as CSV or XLSX"),
    case("PNG", b"\x89PNG\r\n\x1a\n",
         "! f.csv: this is a picture; codes are read from CSV, text, XLSX and JSON Lines"),
    case("JPEG", b"\xff\xd8\xff\xe0",
         "! f.csv: this is a picture; codes are read from CSV, text, XLSX and JSON Lines"),
    case("GIF", b"GIF89a",
         "! f.csv: this is a picture; codes are read from CSV, text, XLSX and JSON Lines"),
    case("7z", b"7z\xbc\xaf\x27\x1c\x00",
         "! f.csv: this is a 7z archive; unpack it first"),
    case("RAR", b"Rar!\x1a\x07\x00", "! f.csv: this is a RAR archive; unpack it first"),
    case("bzip2", b"BZh91AY",
         "! f.csv: this is packed with bzip2; unpack it first, or pack it with gzip"),
    case("xz", b"\xfd7zXZ\x00\x00",
         "! f.csv: this is packed with xz; unpack it first, or pack it with gzip"),
    case("zstd", b"\x28\xb5\x2f\xfd\x00",
         "! f.csv: this is packed with zstd; unpack it first, or pack it with gzip"),
    case("SQLite", b"SQLite format 3\x00",
         "! f.csv: this is an SQLite database; export the table as CSV"),
    case("Parquet", b"PAR1\x15",
         "! f.csv: this is a Parquet file; export the table as CSV"),
    case("RTF", b"{\\rtf1 code}", "! f.csv: this is an RTF text; save it as plain text"),
    case("HTML", b"<html><table><tr><td>code",
         "! f.xls: this is a page of HTML or XML, whatever its name says; open it in a spreadsheet and save it as XLSX or CSV", "f.xls"),
    case("HTML with doctype", b"\n<!DOCTYPE html>",
         "! f.xls: this is a page of HTML or XML, whatever its name says; open it in a spreadsheet and save it as XLSX or CSV", "f.xls"),
    case("XML spreadsheet", b'<?xml version="1.0"?><Workbook>',
         "! f.xls: this is a page of HTML or XML, whatever its name says; open it in a spreadsheet and save it as XLSX or CSV", "f.xls"),
    case("Excel 97", _ole("Root Entry", "Workbook"),
         "! f.xls: this is a workbook of Excel 97 (.xls); save it as XLSX or CSV", "f.xls"),
    case("Word 97", _ole("Root Entry", "WordDocument"),
         "! f.doc: this is an old Office document; save the table as XLSX or CSV", "f.doc"),
    case("OLE, cut off", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
         "! f.xls: this is an old Office document; save the table as XLSX or CSV", "f.xls"),
    case("gzip", gzip.compress(b"code\nA1\n", mtime=0), "2:A1"),
    case("gzip of two members", gzip.compress(b"code\nA1\n", mtime=0) + gzip.compress(b"A2\n", mtime=0),
         "2:A1; 3:A2", "f.csv.gz"),
    case("gzip cut off", GZIPPED[:-20],
         "! f.csv.gz: the gzip file is cut off; get it again, whole", "f.csv.gz"),
    case("gzip cut off in its header", GZIPPED[:5],
         "! f.csv.gz: the gzip file is cut off; get it again, whole", "f.csv.gz"),
    case("gzip with a wrong sum", GZIPPED[:-8] + bytes(4) + GZIPPED[-4:],
         "! f.csv.gz: the gzip file is damaged; get it again, or unpack it first", "f.csv.gz"),
    case("gzip damaged in the middle", GZIPPED[:30] + b"\xff" * 20 + GZIPPED[50:],
         "! f.csv.gz: the gzip file is damaged; get it again, or unpack it first", "f.csv.gz"),
    case("gzip with something after it", GZIPPED + b"more",
         "! f.csv.gz: the gzip file is damaged; get it again, or unpack it first", "f.csv.gz"),
    case("gzip within gzip", gzip.compress(GZIPPED, mtime=0),
         "! f.csv.gz: gzip within gzip; unpack it once", "f.csv.gz"),
    case("gzip bomb", gzip.compress(b"\n" * (128 << 20), 9, mtime=0),
         "! f.txt.gz, line 1: the first 262,144 lines are blank; take them out", "f.txt.gz"),
    case("gzip of a PDF", gzip.compress(b"%PDF-1.7", mtime=0),
         "! f.csv.gz: this is a PDF; save the table itself as CSV or XLSX", "f.csv.gz"),
    case("a first line of 300,000", b"x" * 300_000,
         "! f.txt, line 1: the first line has over 262,144 characters; a table has one row a line", "f.txt"),
    case("a second line of 2 million", b"A1\n" + b"x" * 2_000_000 + b"\nA3\n",
         "1:A1; ! f.txt, line 2: a line of over 1,048,576 characters; a table has one row a line", "f.txt"),
    case("a second line of 2 million, carriage returns", b"A1\r" + b"x" * 2_000_000 + b"\rA3\r",
         "1:A1; ! f.txt, line 2: a line of over 1,048,576 characters; a table has one row a line", "f.txt"),
    case("a line of a mebibyte and one", b"A1\n" + b"x" * (BIG + 1) + b"\nA3\n",
         "1:A1; ! f.txt, line 2: a line of over 1,048,576 characters; a table has one row a line", "f.txt"),
    case("a day", b"code,expire_date\nA1,2026-01-01\n", "2:A1@1"),
    case("a day in dots", b"code,expire_date\nA1,01.02.2026\n", "2:A1@32"),
    case("day and minute", b"code,expire_date\nA1,2026-01-01 10:30\n", "2:A1@0+37800"),
    case("day and second with T", b"code,expire_date\nA1,2026-01-01T10:30:15\n",
         "2:A1@0+37815"),
    case("dots and second", b"code,expire_date\nA1,1.1.2026 0:00:01\n", "2:A1@0+1"),
    case("a zone", b"code,expire_date\nA1,2026-01-01T00:00:00Z\n", "2:A1@0"),
    case("a zone with blank", b"code,expire_date\nA1,2026-01-01 00:00:00+03:00\n",
         "2:A1@-1+75600"),
    case("a serial number", b"code,expire_date\nA1,46023\n", "2:A1@1"),
    case("a serial number with hours", b"code,expire_date\nA1,46023.5\n", "2:A1@0+43200"),
    case("month and day swapped by slashes", b"code,expire_date\nA1,01/02/2026\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("an American date", b"code,expire_date\nA1,2/1/2026\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("two-digit year", b"code,expire_date\nA1,01.02.26\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("no such day", b"code,expire_date\nA1,2026-02-30\n",
         "2? column 'expire_date': no such date or time"),
    case("no such month", b"code,expire_date\nA1,2026-13-01\n",
         "2? column 'expire_date': no such date or time"),
    case("no such hour", b"code,expire_date\nA1,2026-01-01 24:00\n",
         "2? column 'expire_date': no such date or time"),
    case("year 0", b"code,expire_date\nA1,0000-01-01\n",
         "2? column 'expire_date': no such date or time"),
    case("year 10000", b"code,expire_date\nA1,10000-01-01\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("the last day", b"code,expire_date\nA1,9999-12-31\n", "2:A1@2912442+86399"),
    case("the last second", b"code,expire_date\nA1,9999-12-31 23:59:59\n",
         "2:A1@2912442+86399"),
    case("words", b"code,expire_date\nA1,tomorrow\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("eight digits", b"code,expire_date\nA1,20260101\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("a week", b"code,expire_date\nA1,2026-W01-1\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("only a time", b"code,expire_date\nA1,10:30\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("a negative number", b"code,expire_date\nA1,-1\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("a Unix time", b"code,expire_date\nA1,1767225600\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("fraction of a second", b"code,expire_date\nA1,2026-01-01 00:00:00.5\n",
         "2:A1@0"),
    case("Arabic digits", "code,expire_date\nA1,\u0662\u0660\u0662\u0666-01-01\n".encode(),
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("a day in Moscow", b"code,expire_date\nA1,2026-01-01\n",
         "2:A1@0+75600", time_zone="Europe/Moscow"),
    case("a time that the clocks skip", b"code,expire_date\nA1,2026-03-29 02:30\n",
         "2:A1@87+5400", time_zone="Europe/Berlin"),
    case("a time that comes twice", b"code,expire_date\nA1,2026-10-25 02:30\n",
         "2:A1@297+1800", time_zone="Europe/Berlin"),
    case("the first day, east of Greenwich", b"code,expire_date\nA1,0001-01-01 00:00\n",
         "2? column 'expire_date': not of the years 1 to 9999", time_zone="Asia/Tokyo"),
    case("no such time zone", b"code\nA1\n",
         "! no such time zone, time_zone", time_zone="Mars/Olympus"),
    case("a time zone that is a path", b"code\nA1\n",
         "! no such time zone, time_zone", time_zone="../etc/passwd"),
    case("two bad dates", b"code,expire_date,attached\nA1,x,2026-01-01\nA2,2026-01-01,y\nA3,,\n",
         f"4:A3; 2? column 'expire_date': not a date; {ADVICE}; 3? column 'attached': not a date; {ADVICE}"),
    case("damaged: a rounded number", b"1.23E+11\nA2\n",
         "2:A2; 1? a spreadsheet made a rounded number of it; format the column as text, enter it again", "f.txt", format=FileFormat.TXT),
    case("damaged: a rounded number with comma", b"1\x2c23E+11\nA2\n",
         "2:A2; 1? a spreadsheet made a rounded number of it; format the column as text, enter it again", "f.txt", format=FileFormat.TXT),
    case("damaged: an error", b"#N/A\nA2\n",
         "2:A2; 1? a spreadsheet's error stands where the code should", "f.txt", format=FileFormat.TXT),
    case("damaged: a reference error", b"#REF!\nA2\n",
         "2:A2; 1? a spreadsheet's error stands where the code should", "f.txt", format=FileFormat.TXT),
    case("damaged: hashes", b"########\nA2\n",
         "2:A2; 1? the spreadsheet's column was too narrow, and only #### was saved", "f.txt", format=FileFormat.TXT),
    case("damaged: a formula", b"=A1\nA2\n",
         "2:A2; 1? a formula, not its result; save the values instead", "f.txt", format=FileFormat.TXT),
    case("damaged: a call", b"=SUM(A1:A2)\nA2\n",
         "2:A2; 1? a formula, not its result; save the values instead", "f.txt", format=FileFormat.TXT),
    case("damaged: a text formula", b'="00123"\nA2\n',
         "2:A2; 1? a formula, not its result; save the values instead", "f.txt", format=FileFormat.TXT),
    case("damaged: a Russian date", "01.\u043c\u0430\u0439\nA2\n".encode(),
         "2:A2; 1? a spreadsheet made a date of it; format the column as text, enter it again", "f.txt"),
    case("damaged: a Russian error", "#\u041d/\u0414\nA2\n".encode(),
         "2:A2; 1? a spreadsheet's error stands where the code should", "f.txt"),
    case("damaged, in a table", b"code,email\n1.23E+11,a@b\nA2,c\n",
         "3:A2 c; 2? column 'code': a spreadsheet made a rounded number of it; format the column as text, enter it again"),
    case("damaged, accepted", b"1.23E+11\nA2\n",
         "1:1.23E+11; 2:A2", "f.txt", accept_damaged=True),
    case("not damaged", b"5-JAN\n1E5\nE+5\n#1\n=\n==\nA=B\n1.5\n00012\n",
         "1:5-JAN; 2:1E5; 3:E+5; 4:#1; 5:=; 6:==; 7:A=B; 8:1.5; 9:00012", "f.txt", format=FileFormat.TXT),
    case("guarded formula", b"\xef\xbb\xbfcode,email\r\n'=A1x,'+7\r\n''-x,'y\r\n",
         "2:=A1x +7; 3:'-x 'y"),
    case("guard without mark stays", b"code,email\r\n'+A1,'+7\r\n", "2:'+A1 '+7"),
    case("100,000 columns", b"code" + b"," * 99_999 + b"\nA1\n", "2:A1"),
    case("100,000 named columns", b",".join(b"c%d" % n for n in range(100_000)) + b"\nA1\n",
         "! f.csv, line 1: the first line has over 262,144 characters; a table has one row a line"),
    case("sep= line after a mark", b"\xef\xbb\xbfsep=;\r\ncode;email\r\nA1;a,b\r\n",
         "3:A1 a,b"),
    case("sep= line in UTF-16", _utf16("sep=|\r\ncode|email\r\nA1|x\r\n"), "3:A1 x"),
    case("tabs, ragged", b"code\temail\nA1\nA2\tx\ty\nA3\tz\n",
         "2:A1; 4:A3 z; 3? 3 cells where the first row has 2; a cell with the delimiter needs quotes"),
    case("other headers twice", b"code,foo,foo\nA1,1,2\n", "2:A1"),
    case("expiry twice", b"code,expires,valid until\nA1,2026-01-01,2026-02-01\n",
         "! f.csv, line 1: columns 2 ('expires') and 3 ('valid until') could both be expire_date; name one: --column expire_date=NUMBER"),
    case("columns between colons", b"code:email\nA1:a@b\n",
         "! f.csv, line 1, column 5: the columns seem to stand between ':'; put commas, semicolons, tabs or pipes there"),
    case("columns between blanks", b"code expire_date\nA1 2026-01-01\n",
         "! f.txt, line 1, column 5: the columns seem to stand between ' '; put commas, semicolons, tabs or pipes there", "f.txt"),
    case("blank lines, far too many", b"\n" * 300_000 + b"A1\n",
         "! f.csv, line 1: the first 262,144 lines are blank; take them out"),
    case("a header of another column only", b"email\na@b\n", "1:email; 2:a@b"),
    case("a cell of a mebibyte", b"code,email\nA1," + b"x" * (BIG + 1) + b"\n",
         "! f.csv, line 2: a line of over 1,048,576 characters; a table has one row a line"),
    case("a field of 70,000", b"code,color\nA1," + b"x" * 65_000 + b"\nA2," + b"x" * 65_536 + b"\n",
         "2:A1; 3:A2", fields=("size",)),
    case("UTF-16 BE told, without mark", "code\nA1\n".encode("utf-16-be"),
         "2:A1", encoding=Encoding.UTF_16_BE),
    case("CP1251 told, UTF-16 there", "code\nA1\n".encode("utf-16-le"),
         "! f.csv, line 1: the file is UTF-16-LE, not CP1251; leave the encoding out", encoding=Encoding.CP1251),
    case("CP1251 told, a mark of UTF-8 there", b"\xef\xbb\xbfcode\nA1\n",
         "! f.csv, line 1: the file begins with the mark of UTF-8, not CP1251; leave the encoding out", encoding=Encoding.CP1251),
    case("CP1251 told", "код;почта\nЁЖ1;я\n".encode("cp1251"),
         "2:ЁЖ1 я", encoding=Encoding.CP1251),
    case("zero byte in the header", b"co\0de\nA1\n",
         "! f.csv, line 1: a zero byte (byte 3): this is no text; save the table as CSV or XLSX"),
    case("gzip with zeros after it", gzip.compress(b"code\nA1\n", mtime=0) + bytes(512),
         "2:A1", "f.csv.gz"),
    case("gzip bomb of one line", gzip.compress(b"A1\n" + b"x" * (32 << 20), mtime=0),
         "1:A1; ! f.txt.gz, line 2: a line of over 1,048,576 characters; a table has one row a line", "f.txt.gz"),
    case("month in words", b"code,expire_date\nA1,31 Dec 2026\n",
         f"2? column 'expire_date': not a date; {ADVICE}"),
    case("day and month swapped", b"code,expire_date\nA1,12.31.2026\n",
         "2? column 'expire_date': no such date or time"),
    case("a damaged date", b"code,expire_date\nA1,########\nA2,#N/A\n",
         f"2? column 'expire_date': not a date; {ADVICE}; 3? column 'expire_date': not a date; {ADVICE}"),
]
JSON_LINES = [
    case("JSON Lines", b'{"code": "A1", "expire_date": "2026-01-01"}\n\n{"code": 12}\n',
         "1:A1@1; 3:12", "f.jsonl"),
    case("JSON Lines with bad lines", b'{"code": "A1"}\n{"code": \n{"code": "A3",}\n[1]\n"A5"\nnull\n{}\n',
         "1:A1; 2? no complete JSON; 3? no JSON from byte 14 on; 4? not a JSON object; 5? not a JSON object; 6? not a JSON object", "f.jsonl"),
    case("JSON Lines with wrong types", b"".join(
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
         "1:A1; 2? key 'code': a number with a fraction or exponent; write it as a text; 3? key 'code': a number with a fraction or exponent; write it as a text; 4? key 'code': not a text; 6? key 'code': a nested value; 7? key 'code': a nested value; 8? no JSON from byte 9 on; 9? a number over 64 bits", "f.jsonl"),
    case("JSON Lines, a date as number", b'{"code": "A1", "expire_date": 46023}\n',
         f"1? key 'expire_date': not a date; {ADVICE}", "f.jsonl"),
    case("JSON Lines, a key twice", b'{"code": "A1", "code": "A2"}\n{"code": "A1", "code": "A1"}\n',
         "2:A1; 1? key 'code': given twice with two values", "f.jsonl"),
    case("JSON Lines, a synonym twice", b'{"code": "A1", "coupon": "A2"}\n',
         "1? key 'code': given as 'code' and 'coupon'; leave one", "f.jsonl"),
    case("JSON Lines, nested field", b'{"code": "A1", "color": {"a": 1}, "else": [1]}\n',
         "1? key 'color': a nested value", "f.jsonl", fields=("color",)),
    case("JSON Lines, fields of all types", b'{"code": "A1", "color": 5}\n{"code": "A2", "color": true}\n{"code": "A3", "color": 1.5}\n{"code": "A4", "color": null}\n',
         '1:A1 {"color":"5"}; 2:A2 {"color":"true"}; 3:A3 {"color":"1.5"}; 4:A4', "f.jsonl", fields=("color",)),
    case("JSON Lines without a code", b'{"foo": 1}\n',
         "! f.jsonl, line 1: no key holds the code: the first line has 'foo'; say which with --column code=KEY", "f.jsonl"),
    case("JSON Lines, deep", b'{"code": "A1"}\n' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"\n",
         "1:A1; 2? nested deeper than 32", "f.jsonl"),
    case("JSON Lines, absurdly deep", b'{"code": "A1"}\n' + b"[" * 100_000 + b"\n",
         "1:A1; 2? nested deeper than 32", "f.jsonl"),
    case("JSON Lines, zero in a field", b'{"code": "A1", "color": "a\\u0000b"}\n',
         "1? key 'color': holds a NUL character", "f.jsonl", fields=("color",)),
    case("JSON Lines, lone surrogate", b'{"code": "A\\ud8001"}\n{"code": "A2"}\n',
         "2:A2; 1? half a character (a lone surrogate)", "f.jsonl"),
    case("JSON Lines, not UTF-8", b'{"code": "A1"}\n{"code": "\xff"}\n',
         "1:A1; 2? not UTF-8: byte 0xFF as character 11; save the file as UTF-8, or name its encoding", "f.jsonl"),
    case("JSON Lines by number", b'{"code": "A1"}\n',
         "! f.jsonl: JSON Lines have keys, no numbered columns", "f.jsonl", columns={"code": 1}),
    case("JSON Lines by key", b'{"n": "A1"}\n', "1:A1", "f.jsonl", columns={"code": "n"}),
    case("a JSON list", b'[{"code": "A1"}]',
         "! f.json, line 1: one JSON list; write one object a line (JSON Lines)", "f.json"),
    case("a JSON document over several lines", b'{\n  "code": "A1"\n}\n',
         "! f.json, line 1: one JSON object over several lines; write one a line", "f.json"),
    case("JSON Lines with a mark", b'\xef\xbb\xbf{"code": "A1"}\n', "1:A1", "f.jsonl"),
    case("JSON Lines in UTF-16", _utf16('{"code": "A1"}\n'), "1:A1", "f.jsonl"),
    case("JSON Lines, a line over a mebibyte", b'{"code": "A1"}\n{"code": "' + b"x" * BIG + b'"}\n',
         "1:A1; ! f.jsonl, line 2: a line of over 1,048,576 characters; a table has one row a line", "f.jsonl"),
    case("JSON Lines, lists", b'{"code": "A1"}\n["A2"]\n[[]]\n',
         "1:A1; 2? not a JSON object; 3? not a JSON object", "f.jsonl"),
    case("JSON Lines, a number of 5,000 digits", b'{"code": "A1"}\n{"code": ' + b"9" * 5000 + b"}\n",
         "1:A1; 2? a number over 64 bits", "f.jsonl"),
    case("JSON Lines, half a pair within", b'{"code": "A1"}\n{"code": "A\\udc001 and more text"}\n',
         "1:A1; 2? half a character (a lone surrogate)", "f.jsonl"),
    case("JSON Lines, infinity", b'{"code": "A1"}\n{"code": Infinity}\n{"code": -1}\n',
         "1:A1; 3:-1; 2? no JSON from byte 9 on", "f.jsonl"),
    case("JSON Lines, an empty key", b'{"code": "A1", "": 1}\n', "1:A1", "f.jsonl"),
]
WORKBOOKS = [
    case("encrypted XLSX", _ole("Root Entry", "EncryptionInfo", "EncryptedPackage"),
         "! f.xlsx: the workbook is encrypted; save it without a password", "f.xlsx"),
    case("gzip of an XLSX", gzip.compress(XLSX, mtime=0), "2:A1; 3:A2", "f.xlsx.gz"),
    case("XLSX", XLSX, "2:A1; 3:A2", "f.xlsx"),
    case("XLSX called CSV", XLSX, "2:A1; 3:A2"),
    case("XLSX told to be CSV", XLSX,
         "! f.csv: this is XLSX or a ZIP archive, not csv; leave the format out", format=FileFormat.CSV),
    case("CSV told to be XLSX", b"code\nA1\n",
         "! f.csv: this is no XLSX workbook; leave the format out", format=FileFormat.XLSX),
    case("XLSX cut off", XLSX[:-100],
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("XLSX cut off at the start", XLSX[:50],
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("XLSX damaged in the middle", XLSX[: len(XLSX) // 2] + b"\xff" * 9 + XLSX[len(XLSX) // 2 + 9 :],
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("encrypted archive", _encrypted_zip(),
         "! f.xlsx: the workbook is encrypted; save it without a password", "f.xlsx"),
    case("an archive of CSV", archive({"codes.csv": "code"}),
         "! f.zip: this is a ZIP archive, but no workbook; unpack it first", "f.zip"),
    case("XLSB", archive({"xl/workbook.bin": ""}),
         "! f.xlsb: this is an XLSB workbook; save it as XLSX or CSV", "f.xlsb"),
    case("OpenDocument", archive({"mimetype": "", "content.xml": ""}),
         "! f.ods: this is an OpenDocument file; save it as XLSX or CSV", "f.ods"),
    case("Word", archive({"word/document.xml": "", "_rels/.rels": ""}),
         "! f.docx: this is a document of Word; save the table as XLSX or CSV", "f.docx"),
    case("archive with relations only", archive({"_rels/.rels": "<Relationships/>"}),
         "! f.xlsx: this is a ZIP archive, but no workbook; unpack it first", "f.xlsx"),
    case("archive of many parts", _many_parts(),
         "! f.xlsx: a ZIP archive of over 10,000 parts is no workbook", "f.xlsx"),
    case("empty archive", archive({}), "! f.zip: this is an empty ZIP archive", "f.zip"),
    case("XLSX with macros", workbook(codes("A1"), parts={"xl/vbaProject.bin": b"\xd0\xcf\x11\xe0"}),
         "2:A1", "f.xlsm"),
    case("XLSX, empty", workbook(sheet()), "! f.xlsx: the workbook is empty", "f.xlsx"),
    case("XLSX, no sheet", workbook(), "! f.xlsx: the workbook is empty", "f.xlsx"),
    case("XLSX, header only", workbook(codes()),
         "! f.xlsx: the file has a header, but no row", "f.xlsx"),
    case("XLSX, first sheet empty", workbook(sheet(), codes("A1")), "2:A1", "f.xlsx"),
    case("XLSX, sheet by name", workbook(("One", codes("A1")), ("Two", codes("B1"))),
         "2:B1", "f.xlsx", sheet="two"),
    case("XLSX, sheet by number", workbook(("One", codes("A1")), ("Two", codes("B1"))),
         "2:B1", "f.xlsx", sheet="2"),
    case("XLSX, no such sheet", workbook(("One", codes("A1")), ("Two", codes("B1"))),
         "! f.xlsx: no sheet is called 'Three'; there are 'One', 'Two'", "f.xlsx", sheet="Three"),
    case("XLSX, other sheets are left alone", workbook(("One", codes("A1")), ("Two", codes("B1"))),
         "2:A1", "f.xlsx"),
    case("XLSX, sheets that go on", workbook(("codes", codes("A1")), ("codes 2", codes("B1"))),
         "2:A1; 4:B1", "f.xlsx"),
    case("XLSX, a sheet of the name with another header", workbook(("codes", codes("A1")), ("codes 2", sheet(row(1, text("A1", "x"))))),
         "2:A1", "f.xlsx"),
    case("XLSX, numbers as codes", workbook(
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
         "2:123; 3:123; 4:1.5; 5:999999999999999; 6? a spreadsheet made a number of it, which keeps 15 digits; format the column as text; 7? a spreadsheet made a number of it, which keeps 15 digits; format the column as text; 8? not a number, though the file says so", "f.xlsx"),
    case("XLSX, dates as codes", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, number("A2", 46023, 1)),
                 row(3, number("A3", 46023, 2)),
                 row(4, number("A4", 46023, 3)),
                 row(5, number("A5", 46023, 4)),
             ),
             parts={"xl/styles.xml": DATE_STYLES},
         ),
         "4:46023; 2? a spreadsheet made a date of it; format the column as text; 3? a spreadsheet made a date of it; format the column as text; 5? a spreadsheet made a date of it; format the column as text", "f.xlsx"),
    case("XLSX, dates as dates", workbook(
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
         f"2:A2@1; 3:A3@0+21600; 6:A6@1; 4? column 'expires': the number 60 is no date; {ADVICE}; 5? column 'expires': the number 9999999 is no date; {ADVICE}; 7? column 'expires': not a number, though the file says so", "f.xlsx"),
    case("XLSX, days since 1904", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "expires")),
                 row(2, text("A2", "A2"), number("B2", 44561)),
             ),
             properties='<workbookPr date1904="1"/>',
         ),
         "2:A2@1", "f.xlsx"),
    case("XLSX, a date as additional data", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "since")),
                 row(2, text("A2", "A2"), number("B2", 46023, 1)),
                 row(3, text("A3", "A3"), number("B3", 46023.5, 1)),
             ),
             parts={"xl/styles.xml": DATE_STYLES},
         ),
         '2:A2 {"since":"2026-01-01"}; 3:A3 {"since":"2026-01-01 12:00:00"}', "f.xlsx", fields=("since",)),
    case("XLSX, formulas", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, '<c r="A2" t="str"><f>B1</f><v>F2</v></c>'),
                 row(3, '<c r="A3"><f>B1</f></c>'),
                 row(4, '<c r="A4"><f>1+1</f><v>2</v></c>'),
                 row(5, '<c r="A5" t="e"><f>1/0</f><v>#DIV/0!</v></c>'),
             )
         ),
         "2:F2; 4:2; 3? a formula without its value; open the file in a spreadsheet and save it; 5? a spreadsheet's error stands where the code should", "f.xlsx"),
    case("XLSX, true and false", workbook(sheet(row(1, text("A1", "code")), row(2, '<c r="A2" t="b"><v>1</v></c>'))),
         "2:TRUE", "f.xlsx"),
    case("XLSX, shared texts", workbook(
             sheet(
                 row(1, '<c r="A1" t="s"><v>0</v></c>'),
                 row(2, '<c r="A2" t="s"><v>1</v></c>'),
                 row(3, '<c r="A3" t="s"><v>7</v></c>'),
             ),
             parts={
                 "xl/sharedStrings.xml": f"<sst {MAIN}><si><t>code</t></si><si><r><t>A</t></r><r><t>1</t></r><rPh><t>x</t></rPh></si></sst>"
             },
         ),
         "2:A1; 3? a text that the workbook does not have", "f.xlsx"),
    case("XLSX, gaps between rows", workbook(
             sheet(
                 row(3, text("A3", "code")),
                 row(7, text("A7", "A7")),
                 row(1000000, text("A1000000", "Z")),
             )
         ),
         "7:A7; 1000000:Z", "f.xlsx"),
    case("XLSX, cells without places", workbook(
             sheet(
                 '<row><c t="inlineStr"><is><t>code</t></is></c></row><row><c t="inlineStr"><is><t>A2</t></is></c></row>'
             )
         ),
         "2:A2", "f.xlsx"),
    case("XLSX, prefixes", workbook(
             f'<x:worksheet xmlns:x="{MAIN[7:-1]}"><x:sheetData><x:row r="1"><x:c r="A1" t="str"><x:v>code</x:v></x:c></x:row><x:row r="2"><x:c r="A2" t="str"><x:v>A2</x:v></x:c></x:row></x:sheetData></x:worksheet>'
         ),
         "2:A2", "f.xlsx"),
    case("XLSX, a note beside the table", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "email")),
                 row(2, text("A2", "A2"), text("H2", "see here")),
             )
         ),
         "2:A2", "f.xlsx"),
    case("XLSX, the table starts in column C", workbook(sheet(row(2, text("C2", "code")), row(3, text("C3", "A3")))),
         "3:A3", "f.xlsx"),
    case("XLSX, merged cells", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "email")),
                 row(2, text("A2", "A2"), text("B2", "a")),
                 row(3, text("B3", "b")),
                 after='<mergeCells><mergeCell ref="A2:A3"/></mergeCells>',
             )
         ),
         "2:A2 a; 3? column 'code': no code", "f.xlsx"),
    case("XLSX, a hidden column", workbook(
             sheet(
                 row(1, text("A1", "email"), text("B1", "code")),
                 row(2, text("B2", "A2")),
                 before='<cols><col min="2" max="2" hidden="1"/></cols>',
             )
         ),
         "2:A2", "f.xlsx"),
    case("XLSX, a column beyond the last", workbook(sheet(row(1, text("ZZZZ1", "code")))),
         "! f.xlsx, line 1: no cell is called 'ZZZZ1'; the workbook is damaged", "f.xlsx"),
    case("XLSX, a place that is none", workbook(sheet(row(1, text("11", "code")))),
         "! f.xlsx, line 1: no cell is called '11'; the workbook is damaged", "f.xlsx"),
    case("XLSX, a row beyond the last", workbook(sheet(row(1, text("A1", "code")), row(1048577, text("A1", "x")))),
         "! f.xlsx, line 1048577: no sheet has over 1,048,576 rows; the workbook is damaged", "f.xlsx"),
    case("XLSX, escapes", workbook(codes("a_x000D_b", "_x005F_x0041_", "_xD800_")),
         "2:a\rb; 3:_x0041_; 4? half a character, which no text can hold", "f.xlsx"),
    case("XLSX, no XML", workbook("nothing"),
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("XLSX, XML cut off", workbook(sheet(row(1, text("A1", "code")), row(2, text("A2", "A2")))[:-30]),
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("XLSX, entities", workbook('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + codes("&b;")),
         "! f.xlsx: the workbook defines a document type, which none does", "f.xlsx"),
    case("XLSX, nested deep", workbook(sheet("<a>" * 5000 + "</a>" * 5000)),
         "! f.xlsx: the workbook is damaged: nested too deep", "f.xlsx"),
    case("XLSX, a cell of 70,000", workbook(codes("x" * 70_000)),
         "! f.xlsx, line 2, column A: a cell of over 65,536 characters, which is no code", "f.xlsx"),
    case("XLSX, a bomb of rows", _bomb(
             "xl/worksheets/sheet1.xml",
             f"<worksheet {MAIN}><sheetData>",
             "<row/>",
             "</sheetData></worksheet>",
         ),
         "! f.xlsx, line 1048577: no sheet has over 1,048,576 rows; the workbook is damaged", "f.xlsx"),
    case("XLSX, a bomb in an attribute", _bomb("xl/worksheets/sheet1.xml", f'<worksheet {MAIN} a="', "x" * 1024, '"/>'),
         "! f.xlsx: the XLSX file is cut off or damaged; get it again, or save it again", "f.xlsx"),
    case("XLSX, a bomb of shared texts", _bomb("xl/sharedStrings.xml", f"<sst {MAIN}>", "<si><t>" + "x" * 1024 + "</t></si>", "</sst>"),
         "2:A", "f.xlsx"),
    case("XLSX, a bomb of spaces", _bomb("xl/styles.xml", f"<styleSheet {MAIN}>", " " * 1024, "</styleSheet>"),
         "! f.xlsx: a part of the workbook unpacks to over 200 times its size; save the table as CSV if that is right", "f.xlsx"),
    case("XLSX without a code column", workbook(sheet(row(1, text("A1", "x"), text("B1", "email")), row(2, text("A2", "A2")))),
         "! f.xlsx, line 1: no column holds the code: the first row is 'x', 'email'; say which with --column code=NUMBER, or --format txt if each line is a code", "f.xlsx"),
    case("XLSX, no header, one column", workbook(sheet(row(1, text("A1", "A1")), row(2, text("A2", "A2")))),
         "1:A1; 2:A2", "f.xlsx"),
    case("XLSX, no code in a row", workbook(sheet(row(1, text("A1", "code"), text("B1", "email")), row(2, text("B2", "a")))),
         "2? column 'code': no code", "f.xlsx"),
    case("XLSX, first sheet hidden", workbook(codes("LIST"), codes("A1"), hidden=(1,)),
         "2:A1", "f.xlsx"),
    case("XLSX, all sheets hidden", workbook(codes("A1"), hidden=(1,)), "2:A1", "f.xlsx"),
    case("XLSX, hidden sheet by name", workbook(codes("LIST"), codes("A1"), hidden=(1,)),
         "2:LIST", "f.xlsx", sheet="Sheet1"),
    case("XLSX, an empty sheet by name", workbook(codes("A1"), sheet()),
         "! f.xlsx: sheet 'Sheet2' is empty", "f.xlsx", sheet="Sheet2"),
    case("XLSX, zeros by format", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, number("A2", 123, 5)),
                 row(3, number("A3", 1234567, 5)),
             ),
             parts={"xl/styles.xml": DATE_STYLES},
         ),
         "2:00123; 3:1234567", "f.xlsx"),
    case("XLSX, numbers that are none", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, number("A2", "NaN")),
                 row(3, number("A3", "INF")),
                 row(4, number("A4", "9" * 400)),
                 row(5, number("A5", "1E400")),
             )
         ),
         "2? not a number, though the file says so; 3? a spreadsheet made a number of it, which keeps 15 digits; format the column as text; 4? a spreadsheet made a number of it, which keeps 15 digits; format the column as text; 5? a spreadsheet made a number of it, which keeps 15 digits; format the column as text", "f.xlsx"),
    case("XLSX, numbers shown as 1.23E+11", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, number("A2", "1.23456789E+11")),
                 row(3, text("A3", "1.23E+11")),
             )
         ),
         "2:123456789000; 3? a spreadsheet made a rounded number of it; format the column as text, enter it again", "f.xlsx"),
    case("XLSX, an error in a column of dates", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "expires")),
                 row(2, text("A2", "A2"), '<c r="B2" t="e"><v>#N/A</v></c>'),
                 row(3, text("A3", "A3"), '<c r="B3"><f>NOW()</f></c>'),
                 row(4, text("A4", "A4"), '<c r="B4"><f>DATE(2026,1,1)</f><v>46023</v></c>'),
                 row(5, text("A5", "A5"), '<c r="B5" t="b"><v>0</v></c>'),
             )
         ),
         f"4:A4@1; 2? column 'expires': not a date; {ADVICE}; 3? column 'expires': a formula without its value; open the file in a spreadsheet and save it; 5? column 'expires': not a date; {ADVICE}", "f.xlsx"),
    case("XLSX, dates as ISO 8601", workbook(
             sheet(
                 row(1, text("A1", "code"), text("B1", "expires")),
                 row(2, text("A2", "A2"), '<c r="B2" t="d"><v>2026-01-01T00:00:00</v></c>'),
             )
         ),
         "2:A2@0", "f.xlsx"),
    case("XLSX, rich text", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, '<c r="A2" t="inlineStr"><is><r><t>A</t></r><r><t>2</t></r></is></c>'),
             )
         ),
         "2:A2", "f.xlsx"),
    case("XLSX, shared texts are missing", workbook(
             sheet(
                 row(1, text("A1", "code")),
                 row(2, '<c r="A2" t="s"><v>0</v></c>'),
                 row(3, text("A3", "A3")),
             )
         ),
         "3:A3; 2? a text that the workbook does not have", "f.xlsx"),
    case("XLSX, the last column", workbook(sheet(row(1, text("XFD1", "code")), row(2, text("XFD2", "A2")))),
         "2:A2", "f.xlsx"),
    case("XLSX, a cell in the wrong order", workbook(
             sheet(
                 row(1, text("B1", "email"), text("A1", "code")),
                 row(2, text("B2", "x"), text("A2", "A2")),
             )
         ),
         "2:A2 x", "f.xlsx"),
    case("XLSX, a wrong holder and date", workbook(
             sheet(
                 row(1, text("A1", "Код"), text("B1", "Годен до"), text("C1", "База")),
                 row(2, text("A2", "A2"), text("B2", "31/12/26"), text("C2", "1")),
                 row(3, text("A3", "A3"), text("B3", ""), text("C3", "main")),
             )
         ),
         f"2? column 'Годен до': not a date; {ADVICE}; 3? column 'База': not a number from 1 to 2147483647", "f.xlsx"),
    case("XLSX without header, column by number", workbook(sheet(row(1, text("A1", "x"), text("B1", "A1"), text("C1", "soon")))),
         f"1? column 3: not a date; {ADVICE}", "f.xlsx", columns={"code": 2, "expire_date": 3}),
]
# fmt: on

CASES = [*TEXTS, *JSON_LINES, *WORKBOOKS]

"""Workbooks put together by hand, so that what no library writes can be written too."""

import io
import zipfile
from collections.abc import Collection, Mapping

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATIONS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'

DATE_STYLES = (
    f"<styleSheet {MAIN}>"
    '<numFmts count="4"><numFmt numFmtId="167" formatCode="00000"/>'
    '<numFmt numFmtId="164" formatCode="dd/mm/yyyy"/>'
    '<numFmt numFmtId="165" formatCode="&quot;day&quot; 0"/>'
    '<numFmt numFmtId="166" formatCode="[$-419]d mmm;@"/></numFmts>'
    '<cellStyleXfs count="1"><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs count="6"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/>'
    '<xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="167"/></cellXfs></styleSheet>'
)
"""Styles 1, 2 and 4 show dates, 0 and 3 do not; 5 shows five digits with zeros in front."""


def text(cell: str, value: str) -> str:
    """Return a cell with a text."""
    return f'<c r="{cell}" t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'


def number(cell: str, value: object, style: int = 0) -> str:
    """Return a cell with a number."""
    return f'<c r="{cell}" s="{style}"><v>{value}</v></c>'


def row(line: int, *cells: str) -> str:
    """Return a row of cells."""
    return f'<row r="{line}">{"".join(cells)}</row>'


def sheet(*rows: str, after: str = "", before: str = "") -> str:
    """Return the part of a sheet."""
    return f"<worksheet {MAIN}>{before}<sheetData>{''.join(rows)}</sheetData>{after}</worksheet>"


def codes(*texts: str) -> str:
    """Return a sheet with a header and codes."""
    rows = [row(line, text(f"A{line}", value)) for line, value in enumerate(("code", *texts), 1)]
    return sheet(*rows)


def workbook(
    *sheets: str | tuple[str, str],
    properties: str = "",
    hidden: Collection[int] = (),
    parts: Mapping[str, str | bytes] | None = None,
    without: str = "",
) -> bytes:
    """Return a workbook of sheets, which may have names; `parts` are added, or replace others.

    `hidden` are the numbers of the sheets that nobody sees; `without` is a part to leave out.
    """
    named = [
        one if isinstance(one, tuple) else (f"Sheet{n}", one) for n, one in enumerate(sheets, 1)
    ]
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"'
        + (' state="hidden"/>' if n in hidden else "/>")
        for n, (name, _) in enumerate(named, 1)
    )
    targets = "".join(
        f'<Relationship Id="rId{n}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(named) + 1)
    )
    content: dict[str, str | bytes] = {
        "_rels/.rels": f'<Relationships {RELATIONS}><Relationship Id="rId1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}">{properties}'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships {RELATIONS}>{targets}"
        f'<Relationship Id="s" Type="{OFFICE}/styles" Target="styles.xml"/>'
        f'<Relationship Id="t" Type="{OFFICE}/sharedStrings" Target="/xl/sharedStrings.xml"/>'
        "</Relationships>",
    }
    for n, (_, part) in enumerate(named, 1):
        content[f"xl/worksheets/sheet{n}.xml"] = part
    content.update(parts or {})
    content.pop(without, None)
    return archive(content)


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return file.getvalue()

"""`promint codes import`: files of codes in, rehearsed if you like."""

from typing import IO, Any

import click

from promint.bootstrap import make_means
from promint.cli.output import ID, Target, Whole, answer, command_options, fail, run, stopped
from promint.cli.progress import progress_bar
from promint.cli.reading import rereadable
from promint.service.administration import Administration
from promint.service.importing import Importing, ImportMode, ImportOptions, ImportReport
from promint.store import Store
from promint.wire.rows import DELIMITERS, Encoding, FileFormat, ReadOptions, read_column_options

_DELIMITERS = {name: sign for sign, name in DELIMITERS.items()}
_SHOWN_CHARACTERS = 120

COUNTS = {
    "new": "new",
    "duplicates_in_file": "duplicates in the file",
    "duplicates_in_program": "duplicates in the program",
    "over_limit": "over code_limit",
    "unusable": "unusable",
    "damaged": "damaged by a spreadsheet",
    "look_alikes": "look-alikes",
}


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--program", "loyalty_id", type=ID, required=True, help="Its loyalty_id.")
@click.option("--dry-run", is_flag=True, help="Rehearse: say what would happen, change nothing.")
@click.option(
    "--all-or-nothing", is_flag=True, help="Bring in nothing unless every row can be brought in."
)
@click.option(
    "--rejects",
    type=click.File("wb", lazy=True),
    help="Write the rows that stay out to this file, each with its reason.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Which column is what, by header or number: code=1, expire_date=Ends. More than one.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice([form.value for form in FileFormat]),
    help="Of the file.",
)
@click.option("--encoding", type=click.Choice([one.value for one in Encoding]), help="Of the text.")
@click.option("--delimiter", type=click.Choice([*_DELIMITERS]), help="Between columns.")
@click.option("--header/--no-header", default=None, help="Whether the first row names columns.")
@click.option("--sheet", help="Of a workbook; the first that is not empty, if none is named.")
@click.option("--holder-database", type=ID, help="Where holders are, in rows that name none.")
@click.option("--accept-damaged", is_flag=True, help="Take codes that a spreadsheet damaged.")
@click.option(
    "--resume",
    "batch_id",
    type=Whole(1),
    metavar="BATCH",
    help="Go on with an import of this file that was interrupted.",
)
@command_options
def codes_import(
    target: Target,
    file: IO[bytes],
    loyalty_id: int,
    *,
    dry_run: bool,
    rejects: IO[bytes] | None,
    batch_id: int | None,
    **options: Any,
) -> None:
    """Import a FILE of codes: CSV, text, XLSX or JSON Lines, gzip or not ('-' reads a pipe).

    The form of the file is recognised and said. Codes go in by chunks while the service works on;
    an interrupted import leaves a batch, with which --resume goes on and adds what is missing.
    """
    delimiter = options["delimiter"]
    read = ReadOptions(
        format=options["format_"] and FileFormat(options["format_"]),
        encoding=options["encoding"] and Encoding(options["encoding"]),
        delimiter=delimiter and _DELIMITERS[delimiter],
        has_header=options["header"],
        sheet=options["sheet"],
        columns=read_column_options(options["columns"]),
        accept_damaged=options["accept_damaged"],
    )
    mode = ImportMode.ALL_OR_NOTHING if options["all_or_nothing"] else ImportMode.ROWS
    wanted = ImportOptions(read, mode, options["holder_database"])
    begun: list[int] = [] if batch_id is None else [batch_id]

    async def note_batch(number: int) -> None:
        begun.append(number)

    async def work(store: Store, administration: Administration) -> ImportReport:
        importing = Importing(make_means(store))
        common: dict[str, Any] = {
            "name": file.name,
            "options": wanted,
            "rejects": rejects,
            "progress": progress,
        }
        if dry_run:
            return await importing.rehearse(loyalty_id, rows, **common)
        return await importing.run(
            loyalty_id, rows, resume_batch=batch_id, on_batch=note_batch, **common
        )

    try:
        with progress_bar(target) as progress, rereadable(file) as rows:
            report = run(target, work)
    except KeyboardInterrupt:
        stopped(_how_to_go_on(begun))
    _show(target, report, is_rehearsal=dry_run)


def _how_to_go_on(begun: list[int]) -> str:
    if not begun:
        return "Stopped; nothing was imported."
    return f"Stopped. Batch {begun[0]} goes on with the same command and --resume {begun[0]}."


def _shown(text: str) -> str:
    """Return the beginning of a text; what a terminal could obey is shown as U+FFFD."""
    start = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in start)


def _show(target: Target, report: ImportReport, *, is_rehearsal: bool) -> None:
    values = report.values()
    lines = [f"Read as {report.recognised.sentence()}.", ""]
    for name, title in COUNTS.items():
        if values[name] is None:
            continue
        lines.append(f"{title:<28}{values[name]:>12,}")
        lines += [
            f"    line {sample.line}: {_shown(sample.text)} ({sample.reason})"
            for sample in report.samples.get(name, ())
        ]
    lines += ["", *report.suspicions] if report.suspicions else []
    lines.append("")
    if is_rehearsal:
        lines.append("This was a rehearsal; nothing was changed.")
    elif report.is_refused:
        lines.append("Nothing was imported, because not every row can be.")
    else:
        lines.append(f"Imported as batch {report.batch_id}.")
    answer(target, {**values, "dry_run": is_rehearsal}, "\n".join(lines))
    if report.is_refused:
        fail("Correct the file, or import it without --all-or-nothing.")

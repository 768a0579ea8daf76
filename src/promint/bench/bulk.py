"""Measures import, generation and export: the commands that people use, each a process of its own.

Their time is all of it, the start of the interpreter included.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from promint.bench import floors, preparing
from promint.bench.floors import Floor
from promint.bench.preparing import Prepared
from promint.bench.processes import Ended, promint_command, run_command, store_environment
from promint.bench.report import BulkResult
from promint.bench.run import Run, median_ratio
from promint.bench.samples import CODE_CHARACTERS, Sample, write_sample

IMPORT_TARGET = 0.60
GENERATE_TARGET = 0.90
EXPORT_TARGET = 0.50
IMPORT_PEAK_MB_MAX = 300.0
EXPORT_GROWTH_MB_MAX = 100.0
"""How much more an export may take than a command that does next to nothing."""
WORKBOOK_PEAK_MB_MAX = 400.0

TEMPLATE = f"{{{CODE_CHARACTERS}}}"
READ_BYTES = 1 << 20


@dataclass(slots=True)
class _Measured:
    """What the rounds of one kind of work brought; rates are codes a second."""

    name: str
    title: str
    floor: str = ""
    target: float | None = None
    peak_mb_max: float | None = None
    failed: int = 0
    rates: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    peaks_mb: list[float] = field(default_factory=list)

    def add(self, codes: int, ended: Ended) -> None:
        """Take note of one round."""
        self.rates.append(codes / ended.seconds)
        if ended.peak_mb is not None:
            self.peaks_mb.append(ended.peak_mb)

    def result(self, codes: int) -> BulkResult:
        """Return all rounds together."""
        ratio = median_ratio(self.rates, self.floors) if self.floors else None
        peak_mb = max(self.peaks_mb, default=None)
        rate = median(self.rates)
        return BulkResult(
            name=self.name,
            title=self.title,
            codes=codes,
            seconds=codes / rate,
            rate=rate,
            floor=self.floor,
            floor_rate=median(self.floors) if self.floors else None,
            bare_rate=median(self.bare) if self.bare else None,
            ratio=ratio,
            target=self.target,
            is_reached=None if ratio is None or self.target is None else ratio >= self.target,
            peak_mb=peak_mb,
            peak_mb_max=self.peak_mb_max,
            is_peak_reached=None
            if peak_mb is None or self.peak_mb_max is None
            else peak_mb < self.peak_mb_max,
            failed=self.failed,
            rates=self.rates,
        )


@dataclass(slots=True)
class _Bulk:
    """One run: its programs, its files and its floor, None where that is not installed."""

    run: Run
    prepared: Prepared
    folder: Path
    sample: Sample
    floor: Floor | None
    codes: int

    def command(self, *arguments: str) -> Ended:
        return run_command(
            promint_command(*arguments), command_environment(self.run.url, self.folder)
        )

    def missing(self, program: str) -> int:
        """Return by how many codes a program differs from what should be in it."""
        return abs(preparing.count_codes(self.prepared, program) - self.codes)

    def import_file(self, one: _Measured, path: Path, program: str) -> None:
        loyalty_id = preparing.new_program(self.prepared, program)
        one.add(self.codes, self.command("codes", "import", str(path), f"--program={loyalty_id}"))
        one.failed += self.missing(program)

    def import_round(self, one: _Measured, program: str) -> None:
        """Import the sample between its floors."""
        if self.floor is not None:
            one.floors.append(self.codes / self.floor.import_rows(self.sample, is_indexed=True))
        self.import_file(one, self.sample.codes, program)
        if self.floor is not None:
            one.bare.append(self.codes / self.floor.import_rows(self.sample, is_indexed=False))
            self.floor.close()

    def generate_round(self, one: _Measured, program: str, import_rate: float) -> None:
        """Generate as many codes as were imported just now."""
        loyalty_id = preparing.new_program(self.prepared, program)
        one.add(
            self.codes,
            self.command(
                *("codes", "generate", str(self.codes)),
                *(f"--program={loyalty_id}", f"--template={TEMPLATE}", "--accept-guessable"),
            ),
        )
        one.floors.append(import_rate)
        one.failed += self.missing(program)

    def export(self, one: _Measured, program: str, format_: str) -> Path:
        path = self.folder / f"codes.{format_}"
        loyalty_id = self.prepared.programs[program]
        one.add(
            self.codes,
            self.command(
                *("codes", "export", f"--program={loyalty_id}"),
                *(f"--format={format_}", f"--output={path}"),
            ),
        )
        return path

    def export_round(self, one: _Measured, program: str, format_: str, header_lines: int) -> None:
        """Export beside the floor."""
        if self.floor is not None:
            path = self.folder / "floor.csv"
            seconds = self.floor.export(self.prepared.shard(program), path)
            one.floors.append(self.codes / seconds)
            one.failed += abs(_lines(path) - 1 - self.codes)
            path.unlink()
        path = self.export(one, program, format_)
        one.failed += abs(_lines(path) - header_lines - self.codes)
        path.unlink()


def measure_bulk(run: Run, codes: int, folder: Path, *, with_workbooks: bool) -> None:
    """Measure bulk work of so many codes; what it writes is in `folder`.

    Raises:
        BenchFailed: a command failed.
    """
    floor = floors.floor_of(run.url, folder)
    imports = _Measured("import", "import a file", floor.imports, IMPORT_TARGET, IMPORT_PEAK_MB_MAX)
    generation = _Measured("generate", "generate", "import a file", GENERATE_TARGET)
    exports = [
        (_Measured(f"export_{form}", title, floor.exports, EXPORT_TARGET), form, header_lines)
        for form, title, header_lines in (
            ("csv", "export CSV", 1),
            ("jsonl", "export JSON Lines", 0),
        )
    ]
    workbooks = [
        _Measured("export_xlsx", "export XLSX", peak_mb_max=WORKBOOK_PEAK_MB_MAX),
        _Measured("import_xlsx", "import XLSX", peak_mb_max=WORKBOOK_PEAK_MB_MAX),
    ]
    is_installed = floors.is_installed(floor)
    if not is_installed:
        run.report.notes.append(
            f"{floor.command} is not installed, so there is no floor to compare with; "
            "`make system` installs it."
        )
    run.note("writing codes")
    sample = write_sample(folder, codes, separator=floor.separator, null=floor.null)
    with run.prepared() as prepared:
        bulk = _Bulk(run, prepared, folder, sample, floor if is_installed else None, codes)
        try:
            for number in range(run.rounds):
                _note_round(run, number, imports.title)
                bulk.import_round(imports, f"import {number}")
                _note_round(run, number, generation.title)
                bulk.generate_round(generation, f"generate {number}", imports.rates[-1])
            run.note("settling")
            preparing.settle(prepared)
            idle = bulk.command("program", "list")
            for number in range(run.rounds):
                for one, form, header_lines in exports:
                    _note_round(run, number, one.title)
                    bulk.export_round(one, "import 0", form, header_lines)
            if with_workbooks:
                run.note(workbooks[0].title)
                path = bulk.export(workbooks[0], "import 0", "xlsx")
                run.note(workbooks[1].title)
                bulk.import_file(workbooks[1], path, "workbook")
        finally:
            if is_installed:
                floor.close()
    for one, _, _ in exports:
        one.peak_mb_max = None if idle.peak_mb is None else idle.peak_mb + EXPORT_GROWTH_MB_MAX
    measured = [imports, generation, *(one for one, _, _ in exports)]
    measured += workbooks if with_workbooks else []
    run.report.command_s = idle.seconds
    run.report.bulk = [one.result(codes) for one in measured]


def command_environment(url: str, folder: Path) -> dict[str, str]:
    """Return the store of a command, and that what it writes by the way goes away with ours."""
    return {**store_environment(url), "TMPDIR": str(folder)}


def _note_round(run: Run, number: int, title: str) -> None:
    run.note(f"round {number + 1} of {run.rounds}: {title}")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(READ_BYTES), b""))

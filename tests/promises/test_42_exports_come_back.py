"""Exports open safely in a spreadsheet, and come back whole, whatever their texts are."""

import csv
import io
import json
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from openpyxl import load_workbook

from promint.domain import codetext
from promint.domain.errors import BadValue
from promint.domain.model import (
    CodeMatching,
)
from promint.store.staging import StagedCode
from promint.wire.rows import FileFormat, writing
from tests.conftest import Stores
from tests.promises.proof import Proof, control, promise
from tests.races.ledger import demand
from tests.service.test_exporting import essence, fill
from tests.world import DAY, NOON, World

FORMS = (FileFormat.CSV, FileFormat.XLSX, FileFormat.JSONL)

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets begin a formula with, or pass over before one, as OWASP lists it."""

# PostgreSQL keeps no NUL, so every way in refuses it in additional data.
any_text = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20
)
formulas = st.builds(
    "{}{}{}".format,
    st.sampled_from(("", "'", "''", '"')),
    st.sampled_from(STARTS),
    st.sampled_from(("1+1", "cmd|' /C calc'!A0", 'HYPERLINK("http://x","y")', ";", ",", "")),
)
texts = any_text | formulas
moments = st.none() | st.integers(NOON - 900 * DAY, NOON - 1)
Rows = list[tuple[str, int | None, int | None, bool, str]]
rows = st.lists(st.tuples(texts, moments, moments, st.booleans(), texts.map(str.strip)), max_size=8)


def travel(world: World, rows: Rows, form: FileFormat, *, raw: bool) -> None:
    """Demand that a program of these codes is the same after an export and an import."""
    holder = world.profile(world.database(), "a@b.ru")
    kind = {"code_matching": CodeMatching.EXACT, "fields": ("shop",)}
    program, again = world.program(**kind), world.program(**kind)
    staged: dict[str, StagedCode] = {}
    for line, (text, expires_at, attached_at, is_used, data) in enumerate(rows):
        try:
            code = codetext.clean_code(text)
            key = codetext.code_key(code, program.code_matching)
        except BadValue:
            continue
        fields = json.dumps({"shop": data}, ensure_ascii=False) if data else None
        held: tuple[Any, ...] = ()
        if attached_at is not None:
            held = (*holder, attached_at, attached_at + 1 if is_used else None)
        staged.setdefault(key, StagedCode(line, key, code, expires_at, fields, *held))
    fill(world, program, list(staged.values()))

    file = world.export_file(program, form, raw=raw)
    if not raw:
        opens_safely(file, form)
    if staged:
        report = world.import_file(again, file, form)
        demand(report.rejected == 0, report.samples)

    before, after = ([essence(code) for code in world.codes(one)] for one in (program, again))
    demand(before == after, before, "came back as", after)


def opens_safely(file: bytes, form: FileFormat) -> None:
    """Demand that libraries of others read the file, and that no cell of it starts a formula."""
    if form is FileFormat.JSONL:
        for line in file.decode().split("\n")[:-1]:
            json.loads(line)
    elif form is FileFormat.CSV:
        for row in csv.reader(io.StringIO(file.decode("utf-8-sig"), newline="")):
            for text in row:
                demand(not text.startswith(STARTS), "a formula:", ascii(text))
    else:
        for sheet in load_workbook(io.BytesIO(file)):
            for cell in (cell for row in sheet.iter_rows() for cell in row):
                demand(cell.data_type != "f", "a formula:", ascii(cell.value))
                if isinstance(cell.value, str) and cell.value.startswith(STARTS):
                    demand(cell.quotePrefix, "a formula, once it is edited:", ascii(cell.value))


def run(world: World, form: FileFormat, seed: int, examples: int) -> None:
    """Send generated programs on their way."""

    @with_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(rows, st.booleans())
    @example([("=1+1", None, None, False, "'quoted"), ("'=x", None, None, False, "\n")], False)
    @example([("0012", None, None, False, "007"), ("1E5", None, None, False, "TRUE")], False)
    def sent(rows: Rows, raw: bool) -> None:
        travel(world, rows, form, raw=raw)

    sent()


@promise(42, store="sqlite")
@pytest.mark.parametrize("form", FORMS)
def test_a_program_of_hostile_texts_survives_export_and_import(
    stores: Stores, proof: Proof, form: FileFormat
) -> None:
    # Each example adds programs; a world of thousands gets slow.
    examples = proof.size(quick=25, night=300)
    for seed in proof.rounds(quick=1, night=12):
        with closing(World(stores.new("sqlite"))) as world:
            run(world, form, seed, examples)
        proof.trials(examples, "programs of up to 8 codes")


@control(42, fault="the guard is off", store="sqlite")
@pytest.mark.parametrize("form", FORMS[:2])
def test_an_export_without_the_guard_is_found_out(
    stores: Stores, proof: Proof, monkeypatch: pytest.MonkeyPatch, form: FileFormat
) -> None:
    monkeypatch.setattr(writing, "guarded", lambda text: text)
    monkeypatch.setattr(writing, "needs_guard", lambda text: False)
    with closing(World(stores.new("sqlite"))) as world:
        proof.control(lambda seed: run(world, form, seed, examples=5))

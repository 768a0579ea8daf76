"""Codes as lines of text that the database makes: what an export of millions is written from.

A row costs Python some microseconds, as tuple, value and cells; a database makes the whole line
in less than one. So a statement has one text for a code, in the `Notation` that it is given.
"""

from promint.domain.model import CodeState
from promint.store.search_sql import Dialect, Draft
from promint.store.searching import LINE_VALUES, Notation

COLUMNS = ", ".join(
    [*(f"p.{column}" for column in LINE_VALUES if column != "state"), "p.seq", "p.code_key"]
)
"""What a line is made of, and ordered by."""


def state_of(draft: Draft, now: int, texts: dict[CodeState, str]) -> str:
    """Return the text for the state in which a code `p` is: `PromoCode.state`, in SQL."""
    return (
        f"CASE WHEN p.activated_at IS NOT NULL THEN {texts[CodeState.ACTIVATED]} "
        f"WHEN p.expires_at <= {draft.put(now)} THEN {texts[CodeState.EXPIRED]} "
        f"WHEN p.attached_at IS NULL THEN {texts[CodeState.FREE]} "
        f"ELSE {texts[CodeState.ATTACHED]} END"
    )


def line(dialect: Dialect, draft: Draft, notation: Notation, now: int) -> str:
    """Return what to select for the line of a code `p`.

    On SQLite it is one text. On PostgreSQL, where joining texts costs more than columns do, it
    is several, with `notation.cell` between them; those of objects are to be `written_out`.
    """
    if notation.is_json:
        made = _postgres_object if dialect.is_postgres else _sqlite_object
    else:
        made = _postgres_cells if dialect.is_postgres else _sqlite_cells
    return made(draft, notation, now)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- cells ---------------------------------------------------------------------------------


def _cells(draft: Draft, notation: Notation, now: int) -> list[str]:
    moment = _literal(notation.moment)
    states = {state: _literal(state.value) for state in CodeState}
    return [
        "p.code",
        state_of(draft, now, states),
        *(f"{moment} || p.{name}" for name in LINE_VALUES[2:6]),
        *(f"p.{name}" for name in LINE_VALUES[6:]),
    ]


def _postgres_cells(draft: Draft, notation: Notation, now: int) -> str:
    return ", ".join(_cells(draft, notation, now))


def _sqlite_cells(draft: Draft, notation: Notation, now: int) -> str:
    cells = _cells(draft, notation, now)
    # What is NULL is nothing to `%s`.
    form = _literal(notation.cell.join(["%s"] * len(cells)))
    return f"printf({form}, {', '.join(cells)})"


# -- objects -------------------------------------------------------------------------------
#
# What is NULL takes the name before it along: `||` with it is NULL.


def _members(notation: Notation) -> dict[str, str]:
    """Return what stands before each value but the code; the quote of a moment is still open."""
    names = dict(zip(LINE_VALUES, notation.names, strict=True))
    members = {value: f',"{name}":' for value, name in names.items()}
    members["state"] += '"'
    for value in LINE_VALUES[2:6]:
        members[value] += f'"{notation.moment}'
    return members


def _sqlite_object(draft: Draft, notation: Notation, now: int) -> str:
    members = _members(notation)
    before = {value: _literal(text) for value, text in members.items()}
    form = (
        f'{{"{notation.names[0]}":%s{members["state"]}%s"{members["created_at"]}%d"%s%s%s'
        f"{members['attach_count']}%d{members['activation_count']}%d%s%s%s}}"
    )
    states = {state: _literal(state.value) for state in CodeState}
    holder = f"{before['profile_id']} || json_quote(p.profile_id)"
    values = [
        "json_quote(p.code)",
        state_of(draft, now, states),
        "p.created_at",
        *(f"{before[value]} || p.{value} || '\"'" for value in LINE_VALUES[3:6]),
        "p.attach_count",
        "p.activation_count",
        f"{before['database_id']} || p.database_id",
        # NULL is a value to `json_quote`.
        f"CASE WHEN p.profile_id IS NOT NULL THEN {holder} END",
        f"{before['batch_id']} || p.batch_id",
    ]
    return f"printf({_literal(form)}, {', '.join(values)})"


# PostgreSQL sends names and signs as one control character each, for half of its time would go
# into bytes that are the same in every line; JSON has none of these within its texts.
_UNUSED = "unused"
_SHORT = dict(
    zip(
        (*CodeState, *LINE_VALUES[3:], _UNUSED),
        "\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x11\x12",
        strict=True,
    )
)


def _postgres_object(draft: Draft, notation: Notation, now: int) -> str:
    short = {name: _literal(mark) for name, mark in _SHORT.items()}
    # A column of its own takes longer than a comparison, and most codes are as they came.
    counts = (
        f"CASE WHEN p.attach_count = 0 AND p.activation_count = 0 THEN {short[_UNUSED]} "
        f"ELSE {short['attach_count']} || p.attach_count || "
        f"{short['activation_count']} || p.activation_count END"
    )
    columns = [
        "to_json(p.code)",
        state_of(draft, now, {state: short[state] for state in CodeState}),
        "p.created_at",
        *(f"{short[value]} || p.{value}" for value in LINE_VALUES[3:6]),
        counts,
        f"{short['database_id']} || p.database_id",
        f"{short['profile_id']} || to_json(p.profile_id)::text",
        f"{short['batch_id']} || p.batch_id",
    ]
    return ", ".join(columns)


def written_out(rows: bytes, notation: Notation) -> bytes:
    """Return PostgreSQL's rows of objects as whole lines."""
    members = _members(notation)
    long: dict[str, str] = {
        state: f'{members["state"]}{state.value}"{members["created_at"]}' for state in CodeState
    }
    long |= {value: members[value] for value in LINE_VALUES[3:]}
    # The quote that a moment before it left open.
    for value in LINE_VALUES[3:7]:
        long[value] = '"' + long[value]
    long[_UNUSED] = f"{long['attach_count']}0{long['activation_count']}0"

    rows = rows.translate(None, notation.cell.encode())
    for name, mark in _SHORT.items():
        rows = rows.replace(mark.encode(), long[name].encode())
    begin, end = f'{{"{notation.names[0]}":'.encode(), b"}\n"
    return begin + rows[:-1].replace(b"\n", end + begin) + end

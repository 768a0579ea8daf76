"""Every statement on the code tables names `shard_key`, or is exempt by name."""

import re

import pytest

from promint.store import sql

STATEMENTS = {
    name: text
    for name, text in vars(sql).items()
    if name.isupper()
    and isinstance(text, str)
    and re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|FROM)\b", text)
}


def tables_of(statement: str) -> set[str]:
    named = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)", statement)
    return set(named) & set(sql.CODE_TABLES)


ON_CODE_TABLES = sorted(name for name, text in STATEMENTS.items() if tables_of(text))
NOT_INSERTING = [name for name in ON_CODE_TABLES if "INSERT INTO" not in STATEMENTS[name]]


@pytest.mark.parametrize("name", [name for name in ON_CODE_TABLES if name not in sql.EXEMPT])
def test_a_statement_on_the_code_tables_names_its_shard(name: str) -> None:
    assert "shard_key" in STATEMENTS[name]


@pytest.mark.parametrize("name", [name for name in NOT_INSERTING if name not in sql.EXEMPT])
def test_each_code_table_is_found_by_its_shard(name: str) -> None:
    aliases = re.findall(
        rf"(?:FROM|JOIN|UPDATE)\s+(?:{'|'.join(sql.CODE_TABLES)})\b"
        r"(?:\s+(?!WHERE|JOIN|ON|SET|USING|ORDER)(\w+))?",
        STATEMENTS[name],
    )
    assert aliases
    for alias in aliases:
        column = f"{alias}.shard_key" if alias else "shard_key"
        assert re.search(rf"(?<![\w.]){re.escape(column)}\s*(=|BETWEEN)", STATEMENTS[name])


def test_what_is_exempt_exists_and_says_why() -> None:
    for name, reason in sql.EXEMPT.items():
        assert name in STATEMENTS
        assert len(reason) > 20


def test_parameters_first_appear_in_order_so_that_both_databases_take_them() -> None:
    for name, text in STATEMENTS.items():
        if name.startswith("POSTGRES_"):
            continue
        seen = list(dict.fromkeys(int(number) for number in re.findall(r"\$(\d+)", text)))
        assert seen == sorted(seen), name


def test_a_candidate_is_never_picked_by_in_with_skip_locked() -> None:
    """That form hands out more rows than its LIMIT, depending on the plan."""
    for name, text in STATEMENTS.items():
        assert not re.search(r"IN \(\s*SELECT[^)]*SKIP LOCKED", text), name

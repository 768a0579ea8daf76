"""The check reads: it changes nothing, and takes no lock that a writer would meet."""

import re

from promint.ledger import statements

STATEMENTS = {
    name: text
    for name, text in vars(statements).items()
    if name.isupper() and isinstance(text, str) and "SELECT" in text
}
CODE_TABLES = {"promo_code", "attachment", "event", "tally", "idempotency", "batch_change"}


def test_nothing_is_written_or_locked() -> None:
    assert len(STATEMENTS) > 10
    for name, text in STATEMENTS.items():
        assert not re.search(r"\b(INSERT|UPDATE|DELETE|FOR (UPDATE|SHARE|KEY))\b", text), name


def test_rows_of_codes_come_by_shard() -> None:
    for name, text in STATEMENTS.items():
        if CODE_TABLES & set(re.findall(r"FROM\s+(\w+)", text)):
            ordered = "ORDER BY shard_key" in text
            assert ordered is not (name in statements.ORDERED_OTHERWISE), name

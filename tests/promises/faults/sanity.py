"""Builds that believe the numbers they are sent: without the wire's checks, the domain's, any."""

from typing import Any

from tests.races.planted import _patch


def wire_believes() -> None:
    """Take the values of a body for what its shape says, without a look."""
    from promint.wire.manage import reading

    read = reading.read

    def believe(values: Any, shape: Any, *, is_text: bool = False) -> Any:
        return read(values, shape, is_text=True) if is_text else shape(**values)

    reading.read = believe


def wire_and_domain_believe() -> None:
    """Take the numbers of a program's settings as well, whatever they are."""
    from promint.domain import programs

    wire_believes()
    assert hasattr(programs, "_check_whole")
    programs._check_whole = lambda *_: None


def everything_believes() -> None:
    """Let the database take them too."""
    from promint.store.sqlite import SqliteStore

    wire_and_domain_believe()
    open_connection = SqliteStore._connect

    def connect(self: SqliteStore, *arguments: Any, **how: Any) -> Any:
        connection = open_connection(self, *arguments, **how)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        return connection

    _patch(SqliteStore, _connect=connect)

"""Profiles beside their events, what leads to them, and what they hold."""

from collections.abc import Callable, Iterator

from promint.ledger import statements
from promint.ledger.findings import Report
from promint.ledger.kinds import Kind
from promint.ledger.reading import Moment, Row
from promint.ledger.texts import SHARDS, bucket_of

CheckEvent = Callable[[str, bytes, int, int, str], None]


class _Ahead:
    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.row = next(rows, None)

    @property
    def key(self) -> tuple[int, str] | None:
        return None if self.row is None else (self.row[0], self.row[1])

    def of(self, key: tuple[int, str]) -> Iterator[Row]:
        while self.row is not None and self.key == key:
            row, self.row = self.row, next(self._rows, None)
            yield row


def check_profiles(moment: Moment, report: Report, check_event: CheckEvent) -> None:
    """Hold every profile to its events, and every holder to being a profile, or one that was."""
    profiles = _Ahead(moment.rows(statements.PROFILES))
    events = _Ahead(moment.rows(statements.PROFILE_EVENTS))
    identities = _Ahead(moment.rows(statements.IDENTITIES))
    holders = _Ahead(moment.rows(statements.HOLDERS))
    streams = (profiles, events, identities, holders)
    while keys := [stream.key for stream in streams if stream.key is not None]:
        key = min(keys)
        subject = f"{key[0]}:{key[1]}"
        row = next(profiles.of(key), None)
        moments: dict[int, list[int]] = {}
        for _, _, shard, kind, at, event_id, token_id, request_id in events.of(key):
            check_event(f"profile {subject}", event_id, at, token_id, request_id)
            if shard != bucket_of(subject, SHARDS):
                report.say("event", f"profile {subject}", f"stands in shard {shard}, not its own")
            moments.setdefault(kind, []).append(at)
        _check_profile(report, subject, row, moments)
        leading = list(identities.of(key))
        if leading and row is None:
            report.say("profile_identity", subject, f"{len(leading)} lead to no profile")
        if next(holders.of(key), None) is not None and not moments:
            report.say("attachment", subject, "is to a profile that never was")


def _check_profile(
    report: Report, subject: str, row: Row | None, moments: dict[int, list[int]]
) -> None:
    created = moments.get(Kind.PROFILE_CREATED, [])
    updated = moments.get(Kind.PROFILE_UPDATED, [])
    deleted = moments.get(Kind.PROFILE_DELETED, [])

    def say(what: str) -> None:
        report.say("profile", subject, what)

    if (row or moments) and len(created) != 1:
        say(f"was created {len(created)}×")
    if len(deleted) > 1:
        say(f"was deleted {len(deleted)}×")
    if row is None:
        if moments and not deleted:
            say("is gone")
        return
    report.profiles += 1
    _, _, created_at, updated_at, version = row
    if deleted:
        say("is there, and was deleted")
    if created != [created_at]:
        say(f"created_at is {created_at}, its events say {created}")
    if updated_at not in (updated or created):
        say(f"updated_at is {updated_at}, its events say {updated or created}")
    if version != 1 + len(updated):
        say(f"version is {version}, after {len(updated)} changes")

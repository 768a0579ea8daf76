"""The check: tables laid side by side in the order of their keys, once through."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from promint.ledger import statements
from promint.ledger.accounts import (
    SLACK_US,
    Arrival,
    BatchAccount,
    ProgramAccount,
    Timeline,
    allowed_kinds,
    batch_account,
    details_of,
    number_of,
    settled,
)
from promint.ledger.findings import Report
from promint.ledger.kinds import CHANGING, DEFAULT, GIVEN, MAKING, UNKNOWN, Kind, name_of
from promint.ledger.lives import NOT_BY_ATTACHING, Life, State
from promint.ledger.profiles import check_profiles
from promint.ledger.reading import Moment, Row, moment_of
from promint.ledger.texts import SHARDS, bucket_of, compared

Key = tuple[Any, ...]
END: Key = (float("inf"),)

ROOM = 4096
"""So many shards of program 0 hold what belongs to no program."""


def check(url: str) -> Report:
    """Recompute a store from its events, as of this moment; return what differs.

    `url` is that of the settings. Reads every row once and blocks meanwhile; writers go on.

    Raises:
        CannotCheck: the store cannot be read.
    """
    with moment_of(url) as moment:
        return _Check(moment).run()


class _Stream:
    """Rows in order, with the key of the next one at hand."""

    __slots__ = ("_rows", "_width", "key", "row")

    def __init__(self, rows: Iterator[Row], width: int) -> None:
        self._rows = rows
        self._width = width
        self.row: Row = ()
        self.key: Key = END
        self.step()

    def step(self) -> Row:
        """Return the row at hand and go to the next."""
        row = self.row
        following = next(self._rows, None)
        if following is None:
            self.key = END
        else:
            self.row = following
            self.key = following[: self._width]
        return row

    def through(self, key: Key) -> Iterator[Row]:
        """Yield the rows whose key is at most this one."""
        while self.key <= key:
            yield self.step()


class _Check:
    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._report = Report()
        self._tokens: dict[int, Row] = {}

    def run(self) -> Report:
        """Check everything."""
        report, rows = self._report, self._moment.rows
        self._tokens = {row[0]: row for row in rows(statements.TOKENS)}
        self._programs = _Stream(rows(statements.PROGRAMS), 1)
        self._batches = _Stream(rows(statements.BATCHES), 1)
        self._others = _Stream(rows(statements.OTHER_EVENTS), 1)
        self._tallies = _Stream(rows(statements.TALLIES), 1)
        self._codes = _Stream(rows(statements.CODES), 2)
        self._attachments = _Stream(rows(statements.ATTACHMENTS), 2)
        self._events = _Stream(rows(statements.CODE_EVENTS), 2)
        self._changes = _Stream(rows(statements.CHANGES), 2)

        self._check_nobodys()
        while (program_id := self._next_program()) is not None:
            self._check_program(program_id)
        check_profiles(self._moment, report, self._check_event)
        self._check_idempotency()
        return report

    def _next_program(self) -> int | None:
        by_id = [int(s.key[0]) for s in (self._programs, self._batches) if s.key is not END]
        by_shard = [
            int(s.key[0]) // SHARDS
            for s in (
                self._others,
                self._tallies,
                self._codes,
                self._attachments,
                self._events,
                self._changes,
            )
            if s.key is not END
        ]
        return min(by_id + by_shard, default=None)

    def _check_event(
        self, subject: str, event_id: bytes, at: int, token_id: int, request_id: str
    ) -> None:
        """Hold an event to having an id of its moment, an actor and a request."""
        report = self._report
        report.events += 1
        if (
            len(event_id) != 12
            or int.from_bytes(event_id[:4], "big") != at // 1_000_000 & 0xFFFFFFFF
        ):
            report.say("event", subject, "its id and its moment differ")
        if not request_id or (token_id and token_id not in self._tokens):
            report.nameless += 1
            report.say("event", subject, f"names no actor: token {token_id}, {request_id!r}")

    # -- what belongs to no program --------------------------------------------------------

    def _check_nobodys(self) -> None:
        """Databases and tokens, whose events stand in the shards of program 0."""
        say = self._report.say
        made: dict[int, list[int]] = {}
        tokens: dict[tuple[int, int], list[int]] = {}
        is_told = True
        for (
            shard,
            kind,
            at,
            event_id,
            token_id,
            request_id,
            database_id,
            _,
            _,
            text,
        ) in self._others.through((ROOM - 1,)):
            subject = f"{name_of(kind)} in shard {shard}"
            self._check_event(subject, event_id, at, token_id, request_id)
            details = details_of(text) or {}
            if kind in (Kind.TOKEN_CREATED, Kind.TOKEN_ROTATED, Kind.TOKEN_REVOKED):
                number = details.get("token_id")
                is_told = is_told and number is not None
                if number is not None:
                    tokens.setdefault((kind, number), []).append(at)
                    if number % SHARDS != shard:
                        say("event", subject, f"is of token {number}, in another shard")
            elif kind in (Kind.DATABASE_CREATED, Kind.DATABASE_UPDATED):
                is_told = is_told and database_id is not None
                if kind == Kind.DATABASE_CREATED and database_id is not None:
                    made.setdefault(database_id, []).append(at)
            elif kind != Kind.GUESSING_STOPPED:
                say("event", subject, "is of no program")
        databases = {row[0]: row[1] for row in self._moment.rows(statements.DATABASES)}
        if not is_told:
            return
        _compare_made(say, "profile_database", databases, made)
        _compare_made(
            say,
            "token",
            {number: row[1] for number, row in self._tokens.items()},
            {number: at for (kind, number), at in tokens.items() if kind == Kind.TOKEN_CREATED},
        )
        for number, (_, _, revoked_at, rotated_at) in self._tokens.items():
            told = tokens.get((Kind.TOKEN_REVOKED, number))
            if (revoked_at is None) is not (told is None):
                say("token", str(number), f"revoked_at is {revoked_at}, its events say {told}")
            rotated = max(tokens.get((Kind.TOKEN_ROTATED, number), ()), default=None)
            if rotated_at != rotated:
                say("token", str(number), f"rotated_at is {rotated_at}, its events say {rotated}")

    def _check_idempotency(self) -> None:
        for shard, token_id, key, length, status, keep_until in self._moment.rows(
            statements.IDEMPOTENCY
        ):
            subject = f"{token_id} {key}"
            if shard != bucket_of(f"{token_id}:{key}", SHARDS):
                self._report.say("idempotency", subject, f"stands in shard {shard}, not its own")
            if not length or not 200 <= status < 600 or keep_until <= 0:
                self._report.say("idempotency", subject, "holds no answer that was given")
            if token_id and token_id not in self._tokens:
                self._report.say("idempotency", subject, "is of no token")

    # -- one program -----------------------------------------------------------------------

    def _check_program(self, program_id: int) -> None:
        last = (program_id * SHARDS + SHARDS - 1,)
        rows = list(self._programs.through((program_id,)))
        batches = [row for row in self._batches.through((program_id,)) if row[0] == program_id]
        program = self._account(program_id, rows[0] if rows else None, batches)
        self._read_program_events(program, rows[0] if rows else None)
        codes = _Codes(self._report, program, self._check_event)
        codes.check(self._codes, self._attachments, self._events, self._changes, (*last, _LAST))
        self._check_tallies(program, list(self._tallies.through(last)))
        self._check_batches(program)
        if program.is_there:
            self._report.programs += 1

    def _account(self, program_id: int, row: Row | None, batches: list[Row]) -> ProgramAccount:
        program = ProgramAccount(program_id)
        for batch in batches:
            account = batch_account(batch)
            program.batches[account.id] = account
            self._report.batches += 1
        if row is None:
            self._report.say(
                "loyalty_program", str(program_id), "is gone; there is what is its own"
            )
            return program
        program.is_there = True
        _, _, _, multiple_usage, buckets, text, _, _ = row
        settings = details_of(text) or {}
        program.is_universal = bool(multiple_usage)
        program.buckets = buckets
        program.is_forgiving = settings.get("code_matching", "forgiving") == "forgiving"
        return program

    def _read_program_events(self, program: ProgramAccount, row: Row | None) -> None:
        """Take what concerns the program as a whole: its settings, imports, batches taken back."""
        say = self._report.say
        last = (program.first_shard + SHARDS - 1,)
        steps: list[tuple[int, int, dict[str, Any]]] = []
        created, updated = [], 0
        is_told = True
        for shard, kind, at, event_id, token_id, request_id, _, _, _, text in self._others.through(
            last
        ):
            subject = f"{program.id} {name_of(kind)} {event_id.hex()}"
            self._check_event(subject, event_id, at, token_id, request_id)
            details = details_of(text)
            if details is None:
                say("event", subject, "has details that are no JSON object")
                continue
            if shard != program.first_shard:
                say("event", subject, f"stands in shard {shard}, not in that of its program")
            if kind in (Kind.PROGRAM_CREATED, Kind.PROGRAM_UPDATED):
                created += [at] if kind == Kind.PROGRAM_CREATED else []
                updated += kind == Kind.PROGRAM_UPDATED
                settings = details.get("settings")
                if isinstance(settings, dict):
                    steps.append((at, number_of(details, "version"), settings))
                    program.is_told = program.is_told or kind == Kind.PROGRAM_CREATED
                else:
                    is_told = False
            elif kind in (Kind.IMPORTED, Kind.GENERATED):
                self._take_import(program, subject, kind, at, details)
            elif kind == Kind.BATCH_UNDONE:
                self._take_undone(program, subject, details)
            elif kind in (Kind.LOW_STOCK, Kind.STOCK_RECOVERED):
                program.stock_low += kind == Kind.LOW_STOCK
                program.stock_recovered += kind == Kind.STOCK_RECOVERED
            elif kind != Kind.GUESSING_STOPPED:
                say("event", subject, "is none of a program")
        if row is not None:
            self._check_settings(program, row, created, updated, steps if is_told else None)

    def _take_import(
        self, program: ProgramAccount, subject: str, kind: int, at: int, details: dict[str, Any]
    ) -> None:
        batch = program.batches.get(number_of(details, "batch_id"))
        inserted = number_of(details, "inserted")
        program.inserted += inserted
        if batch is None:
            self._report.say("event", subject, f"is of batch {details.get('batch_id')}: none such")
            return
        if MAKING.get(batch.kind) != kind:
            self._report.say("batch", str(batch.id), f"is of kind {batch.kind}, its events are not")
        batch.inserted += inserted
        is_whole = "duplicated" in details
        if is_whole:
            duplicated = number_of(details, "duplicated")
            discarded = number_of(details, "discarded_by_limit")
            batch.whole = {
                "duplicated": duplicated,
                "discarded": discarded,
                "rejected": 0,
                "total": inserted + duplicated + discarded,
            }
        arrival = Arrival(
            details.get("first_version"), details.get("default_expire_date"), is_whole
        )
        arrivals = batch.arrivals.setdefault(at, [])
        if arrival not in arrivals:
            arrivals.append(arrival)

    def _take_undone(self, program: ProgramAccount, subject: str, details: dict[str, Any]) -> None:
        batch = program.batches.get(number_of(details, "batch_id"))
        count = number_of(details, "count")
        if batch is None:
            self._report.say("event", subject, f"is of batch {details.get('batch_id')}: none such")
            return
        batch.undone += count
        if batch.makes:
            program.undone += count

    def _check_settings(
        self,
        program: ProgramAccount,
        row: Row,
        created: list[int],
        updated: int,
        steps: list[tuple[int, int, dict[str, Any]]] | None,
    ) -> None:
        _, name, active, multiple_usage, buckets, text, created_at, version = row
        subject = str(program.id)

        def say(what: str) -> None:
            self._report.say("loyalty_program", subject, what)

        settings = details_of(text)
        if settings is None:
            say("its settings are no JSON object")
            return
        columns = {
            "name": name,
            "active": bool(active),
            "multiple_usage": bool(multiple_usage),
            "buckets": buckets,
        }
        for column, value in columns.items():
            if settings.get(column) != value:
                say(f"{column} is {value!r}, its settings say {settings.get(column)!r}")
        # Before settings were on record, row and event each took the time for themselves.
        slack = 0 if program.is_told else SLACK_US
        if len(created) != 1 or abs(created[0] - created_at) > slack:
            say(f"created_at is {created_at}, its events say {created}")
        timeline = None if steps is None else settled(steps)
        if timeline is not None:
            program.timeline = timeline
            if version != len(timeline):
                say(f"version is {version}, its events make {len(timeline)}")
            for setting, value in timeline.last.items():
                if settings.get(setting) != value:
                    say(f"{setting} is {settings.get(setting)!r}, its events say {value!r}")
        elif steps is not None:
            say("an event of its settings is missing")
        elif not updated:
            # Before settings were on record; they have not changed since.
            program.timeline = Timeline([(created_at, settings)])
        elif version < 1 + updated:
            say(f"version is {version}, after {updated} changes")

    # -- sums ------------------------------------------------------------------------------

    def _check_tallies(self, program: ProgramAccount, rows: list[Row]) -> None:
        kinds: dict[str, int] = {}
        for shard, kind, subject, count, next_seq, version in rows:

            def say(what: str, kind: str = kind, subject: str = subject) -> None:
                self._report.say("tally", f"{program.id} {kind} {subject}".strip(), what)

            kinds[kind] = kinds.get(kind, 0) + 1
            own = program.first_shard
            if kind == "holdings":
                own += bucket_of(subject, program.buckets)
            if shard != own:
                say(f"stands in shard {shard}, not {own}")
            if version < 1:
                say(f"version is {version}")
            if kind == "codes":
                self._check_codes_tally(program, say, count, next_seq)
            elif kind == "holdings":
                if count or next_seq or ":" not in subject:
                    say(f"counts {count} and {next_seq}; a guard counts nothing")
            elif kind == "low_stock":
                is_low = program.stock_low - program.stock_recovered
                told = program.stock_low + program.stock_recovered
                if (count, next_seq, version) != (is_low, 0, told):
                    say(f"is {count} at version {version}, its events say {is_low} at {told}")
            else:
                say("is of no known kind")
            if kind != "holdings" and subject:
                say("has a subject")
        if program.is_there and kinds.get("codes") != 1:
            self._report.say("tally", f"{program.id} codes", f"is there {kinds.get('codes', 0)}×")
        if program.stock_low and "low_stock" not in kinds:
            self._report.say("tally", f"{program.id} low_stock", "is missing")

    def _check_codes_tally(
        self, program: ProgramAccount, say: Callable[[str], None], count: int, next_seq: int
    ) -> None:
        if count != program.codes:
            say(f"count is {count}, there are {program.codes}")
        if count != program.expected_codes:
            say(f"count is {count}, the events make {program.expected_codes}")
        last = max((batch.last_seq or 0 for batch in program.batches.values()), default=0)
        if next_seq <= max(last, program.numbers.largest):
            say(f"next_seq is {next_seq}, {max(last, program.numbers.largest)} is given")
        if not program.timeline.ever_allowed("code_limit", count):
            say(f"count is {count}, over every code_limit that there was")

    def _check_batches(self, program: ProgramAccount) -> None:
        for batch in program.batches.values():

            def say(what: str, batch: BatchAccount = batch) -> None:
                self._report.say("batch", str(batch.id), what)

            if not batch.makes and batch.kind not in CHANGING:
                say(f"is of kind {batch.kind}, which there is not")
                continue
            for name, told in batch.expected().items():
                if batch.counts[name] != told:
                    say(f"{name} is {batch.counts[name]}, its events say {told}")
            if batch.undone and batch.state not in ("undoing", "undone"):
                say(f"is {batch.state}, and was taken back")
            if batch.makes:
                self._check_made(program, batch, say)
            else:
                self._check_changes(program, batch, say)

    @staticmethod
    def _check_made(
        program: ProgramAccount, batch: BatchAccount, say: Callable[[str], None]
    ) -> None:
        left = batch.inserted - batch.undone - batch.lost + batch.back
        if not left - program.unknown_deletions <= batch.alive <= left:
            say(f"has {batch.alive} codes, the events leave it {left}")

    @staticmethod
    def _check_changes(
        program: ProgramAccount, batch: BatchAccount, say: Callable[[str], None]
    ) -> None:
        restored = batch.restored
        if batch.kind == "attach" and not program.is_universal:
            restored += batch.deleted
        if batch.undone != restored:
            say(f"undone is {batch.undone}, {restored} events say so")
        left = batch.changed - batch.undone
        # All of them may have been removed, and then the batch cannot be taken back.
        if batch.changes_kept not in (0, left):
            say(f"keeps {batch.changes_kept} changes to take back, its events leave {left}")


def _compare_made(
    say: Callable[[str, str, str], None],
    table: str,
    rows: dict[int, int],
    events: dict[int, list[int]],
) -> None:
    for number in sorted(rows.keys() | events.keys()):
        if number not in rows:
            say(table, str(number), "is gone")
        elif events.get(number) != [rows[number]]:
            say(
                table, str(number), f"created_at is {rows[number]}, events say {events.get(number)}"
            )


_LAST = "\U0010ffff" * 4
"""Behind every code."""


class _Codes:
    """The codes of a program, each beside its attachments, events and kept changes."""

    def __init__(
        self,
        report: Report,
        program: ProgramAccount,
        check_event: Callable[[str, bytes, int, int, str], None],
    ) -> None:
        self._report = report
        self._program = program
        self._check_event = check_event
        self._subject = ""

    def check(
        self,
        codes: _Stream,
        attachments: _Stream,
        events: _Stream,
        changes: _Stream,
        last: Key,
    ) -> None:
        """Go through everything up to the last key of the program."""
        while True:
            key = min(codes.key, events.key, attachments.key, changes.key)
            if key > last:
                return
            self._subject = f"{self._program.id}/{key[1]}"
            row = codes.step() if codes.key == key else None
            if row is not None:
                self._check_row(row)
                if key not in (events.key, attachments.key, changes.key):
                    self._check_untouched(row)
                    continue
            self._check_one(key, row, attachments, events, changes)

    def _say(self, what: str) -> None:
        self._report.say("promo_code", self._subject, what)

    # -- the row by itself -----------------------------------------------------------------

    def _check_row(self, row: Row) -> None:
        program = self._program
        shard, code_key, code, seq = row[:4]
        batch_id, version = row[13:]
        self._report.codes += 1
        program.codes += 1
        if compared(code, forgiving=program.is_forgiving) != code_key:
            self._say(f"code is {code!r}, which has another key")
        if shard != program.first_shard + bucket_of(code_key, program.buckets):
            self._say(f"stands in shard {shard}, not its own")
        if not program.numbers.add(seq):
            self._say(f"seq {seq} is another code's too")
        if version < 1:
            self._say(f"version is {version}")
        if batch_id is not None:
            batch = program.batches.get(batch_id)
            if batch is None or not batch.makes:
                self._say(f"batch_id is {batch_id}, which has made no codes here")
                return
            batch.alive += 1
            if not (batch.first_seq or 0) <= seq <= (batch.last_seq or 0):
                self._say(
                    f"seq {seq} is none of its batch's, {batch.first_seq} to {batch.last_seq}"
                )

    def _check_untouched(self, row: Row) -> None:
        """A code to which nothing has happened: it is as its batch brought it in."""
        _, _, _, _, _, expires_at, expiry_source, *held, batch_id, version = row
        if held != [None, None, 0, 0, None, None]:
            self._say(f"is attached or activated, {held}, without an event")
        if batch_id is None:
            self._say("was made by nothing: it has no batch and no event")
            return
        self._check_arrival(row, version, expires_at, expiry_source)
        self._count_changes(0, row, version)

    def _check_arrival(self, row: Row, begun: int, expires_at: Any, expiry_source: int) -> None:
        """Hold a code to one of the chunks in which its batch came; UNKNOWN is not compared."""
        program = self._program
        batch = program.batches.get(row[13])
        if batch is None:
            return
        arrivals = batch.arrivals.get(row[4])
        if arrivals is None:
            self._say(f"created_at is {row[4]}, when nothing came in of batch {batch.id}")
            return
        firsts = {arrival.first_version for arrival in arrivals}
        if None not in firsts and begun not in firsts:
            self._say(f"begins with version {begun}, its batch with {firsts}")
        if expires_at is UNKNOWN:
            return
        for arrival in arrivals:
            if arrival.first_version is None:
                return
            default = arrival.default_expires_at
            given = batch.expires_at
            usual = (default, GIVEN if default is None else DEFAULT)
            if batch.kind == "generate" and given is not None:
                usual = (given, GIVEN)
            if (expires_at, expiry_source) == usual:
                return
            is_from_file = batch.kind == "import" and not arrival.is_whole
            if is_from_file and expires_at is not None and expiry_source == GIVEN:
                return
        self._say(
            f"expires_at is {expires_at} by expiry_source {expiry_source}, "
            "which its batch did not give it"
        )

    def _count_changes(self, followed: int, row: Row | None, version: int) -> None:
        self._report.recorded += followed
        self._report.changes += followed + (0 if row is None else row[14] - version)

    # -- the row beside its events ---------------------------------------------------------

    def _check_one(
        self, key: Key, row: Row | None, attachments: _Stream, events: _Stream, changes: _Stream
    ) -> None:
        life = Life(self._program, self._say)
        followed = missing = 0
        while events.key == key:
            event = events.step()
            followed += 1
            self._check_event(f"{self._subject} {event[2]}", event[5], event[4], event[6], event[7])
            version_before = life.version
            was_alive = life.is_alive
            details = life.follow(event)
            if was_alive:
                missing += max(0, event[2] - version_before - 1)
            self._account(life, event, details)
            self._check_changes(key, event, life, details, changes)
        while changes.key == key:
            self._say_change(changes.step())
        if row is None:
            if life.is_alive or not followed:
                self._say("is gone" if followed else "is gone, others still name it")
        elif not followed:
            self._check_untouched(row)
        else:
            self._compare(row, life)
        self._check_attachments(key, life, attachments)
        if followed:
            self._count_changes(followed, row if life.is_alive else None, life.version)
            self._report.changes += missing

    def _account(self, life: Life, event: Row, details: dict[str, Any]) -> None:
        """Count an event for its program and its batch."""
        program = self._program
        kind = event[3]
        batch: BatchAccount | None = None
        if "batch_id" in details:
            batch = program.batches.get(number_of(details, "batch_id"))
            if batch is None or kind not in allowed_kinds(batch):
                self._say(f"event {event[2]} names batch {details['batch_id']}, which is no such")
                batch = None
            elif kind == CHANGING.get(batch.kind):
                batch.changed += 1
        if kind == Kind.CREATED:
            program.created += 1
            program.numbers.largest = max(program.numbers.largest, life.seq or 0)
            if batch is not None:
                batch.created += 1
        elif kind == Kind.DELETED:
            if batch is None or not batch.makes:
                program.deleted += 1
                self._count_lost(life, lost=1, back=0)
            if batch is not None and batch.kind == "attach":
                batch.deleted += 1
        elif kind == Kind.RESTORED and batch is not None:
            batch.restored += 1
            if batch.kind == "delete":
                program.back += 1
                self._count_lost(life, lost=0, back=1)

    def _count_lost(self, life: Life, *, lost: int, back: int) -> None:
        if life.made_by is UNKNOWN:
            self._program.unknown_deletions += 1
        elif isinstance(life.made_by, int):
            made_by = self._program.batches.get(life.made_by)
            if made_by is not None:
                made_by.lost += lost
                made_by.back += back

    def _compare(self, row: Row, life: Life) -> None:
        """Hold a row to what its events make of it."""
        if not life.is_alive:
            self._check_untouched(row)
            if row[14] <= life.version:
                self._say("is there, and was deleted")
            return
        _, _, code, seq, created_at, expires_at, expiry_source, *rest = row
        attached_at, activated_at, attach_count, activation_count, database_id, profile_id = rest[
            :6
        ]
        batch_id, version = rest[6:]
        latest = life.latest or (None, None)
        for name, value, told in (
            ("version", version, life.version),
            ("attach_count", attach_count, len(life.holders)),
            ("activation_count", activation_count, len(life.uses)),
            ("activated_at", activated_at, life.activated_at),
            ("attached_at", attached_at, life.attached_at),
            ("database_id", database_id, latest[0]),
            ("profile_id", profile_id, latest[1]),
            ("expires_at", expires_at, life.expires_at),
            ("created_at", created_at, life.born_at),
            ("batch_id", batch_id, life.made_by),
            ("code", code, UNKNOWN if life.code is None else life.code),
            ("seq", seq, UNKNOWN if life.seq is None else life.seq),
        ):
            if value != told and told is not UNKNOWN:
                self._say(f"{name} is {value!r}, its events say {told!r}")
        if not life.state().has_source(expiry_source):
            self._say(f"expiry_source is {expiry_source}, its events say otherwise")
        elif expires_at is None and life.sources == NOT_BY_ATTACHING and expiry_source != GIVEN:
            self._say(f"expiry_source is {expiry_source}, and there is no expiry")
        if life.made_by is not None and not life.has_own_event:
            if batch_id is None:
                self._say("was made by nothing: it has no batch and no first event")
            elif life.sources == NOT_BY_ATTACHING:
                # Nothing has moved the expiry since it came in.
                self._check_arrival(row, life.begun, expires_at, expiry_source)
            else:
                self._check_arrival(row, life.begun, UNKNOWN, expiry_source)

    def _check_attachments(self, key: Key, life: Life, attachments: _Stream) -> None:
        personal = 0 if self._program.is_universal else 1
        holders = life.holders
        while attachments.key == key:
            _, _, database_id, profile_id, attached_at, is_personal = attachments.step()
            self._report.attachments += 1
            subject = f"{self._subject} {database_id}:{profile_id}"
            told = holders.pop((database_id, profile_id), "nothing")
            if told == "nothing":
                self._report.say("attachment", subject, "is there, no event says so")
            elif attached_at != told and told is not UNKNOWN:
                self._report.say(
                    "attachment", subject, f"attached_at is {attached_at}, its event says {told}"
                )
            if is_personal != personal:
                self._report.say("attachment", subject, f"personal is {is_personal}")
        for database_id, profile_id in holders:
            self._report.say(
                "attachment", f"{self._subject} {database_id}:{profile_id}", "is missing"
            )

    # -- what can be taken back ------------------------------------------------------------

    def _say_change(self, change: Row) -> None:
        self._report.say(
            "batch_change", f"{change[2]} {self._subject}", f"no event has version {change[5]}"
        )

    def _check_changes(
        self, key: Key, event: Row, life: Life, details: dict[str, Any], changes: _Stream
    ) -> None:
        """Hold the kept changes up to this event's version to what the event says."""
        while changes.key == key and changes.row[5] <= event[2]:
            change = changes.step()
            _, _, batch_id, code_key, text, version = change
            if version < event[2]:
                self._say_change(change)
                continue
            subject = f"{batch_id} {self._subject}"

            def say(what: str, subject: str = subject) -> None:
                self._report.say("batch_change", subject, what)

            if details.get("batch_id") != batch_id:
                say(f"version {version} is of another batch")
                continue
            batch = self._program.batches.get(batch_id)
            if batch is None:
                continue
            is_of_holder = code_key.startswith("\n")
            is_shared = batch.kind == "attach" and self._program.is_universal
            batch.changes_kept += is_of_holder or not is_shared
            try:
                before = json.loads(text)
            except ValueError:
                say("keeps no JSON")
                continue
            if is_of_holder:
                self._check_kept_holder(say, code_key, before, life)
            elif before is None:
                if life.created_by != batch_id:
                    say("says that its batch made the code")
            elif not is_shared:
                self._check_before(say, before, life.before(version - 1), event)

    @staticmethod
    def _check_kept_holder(
        say: Callable[[str], None], code_key: str, before: Any, life: Life
    ) -> None:
        database_id, _, profile_id = code_key.split("\n", 2)[-1].partition(":")
        told = life.holders.get((int(database_id) if database_id.isdecimal() else 0, profile_id))
        if not isinstance(before, dict) or told is None:
            say("keeps an attachment that there was not")
        elif told is not UNKNOWN and before.get("attached_at") != told:
            say(f"keeps attached_at {before.get('attached_at')}, its event says {told}")
        elif before.get("activation_count") != len(life.uses):
            say(f"keeps activation_count {before.get('activation_count')}, not {len(life.uses)}")

    @staticmethod
    def _check_before(
        say: Callable[[str], None], before: Any, state: State | None, event: Row
    ) -> None:
        if not isinstance(before, dict) or state is None:
            say("keeps a state that there was not")
            return
        latest = state.latest or (None, None)
        for name, told in (
            ("shard_key", event[0]),
            ("code_key", event[1]),
            ("version", event[2] - 1),
            ("attach_count", state.attach_count),
            ("activation_count", state.activation_count),
            ("activated_at", state.activated_at),
            ("attached_at", state.attached_at),
            ("database_id", latest[0]),
            ("profile_id", latest[1]),
            ("expires_at", state.expires_at),
            ("created_at", state.born_at),
            ("batch_id", state.made_by),
            ("code", UNKNOWN if state.code is None else state.code),
            ("seq", UNKNOWN if state.seq is None else state.seq),
        ):
            if before.get(name) != told and told is not UNKNOWN:
                say(f"keeps {name} {before.get(name)!r}, its events say {told!r}")
        source = before.get("expiry_source")
        if not isinstance(source, int) or not state.has_source(source):
            say(f"keeps expiry_source {source}, its events say otherwise")

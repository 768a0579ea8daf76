"""Generating codes by the million: planned, drawn, staged, and put in until all are there."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from promint.domain.codetext import canonical
from promint.domain.errors import (
    BadValue,
    BatchNotFound,
    CodeLimitReached,
    ProgramNotFound,
    PromintError,
    StoreBusy,
)
from promint.domain.model import (
    ID_MAX,
    MOMENT_MAX,
    MOMENT_MIN,
    Batch,
    BatchKind,
    BatchState,
    EventKind,
    LoyaltyProgram,
)
from promint.domain.planning import Plan, plan
from promint.domain.templates import Template, has_check
from promint.service.chunks import known_batch
from promint.service.drawing import CodeSource
from promint.service.means import Means, Progress, unwatched
from promint.service.transactions import in_transaction
from promint.store import Busy, ConnectionLost, StoreError, Transaction
from promint.store.searching import CodeFilter
from promint.store.staging import BatchFull, Insertion, Stage, StagedCode

BLOCK_CODES = 50_000
COUNT_MAX = 1_000_000_000
FIELD_TEXT_MAX = 10_000
ROUNDS_MAX = 50

RESUMABLE = (BatchState.RUNNING, BatchState.STOPPED)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the codes of a batch are like, as it is kept with the batch."""

    template: str
    expires_at: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        return {
            "template": self.template,
            "expire_date": self.expires_at,
            "fields": dict(self.fields),
        }

    @classmethod
    def of(cls, batch: Batch) -> "_Wanted":
        kept = batch.parameters
        return cls(kept["template"], kept["expire_date"], kept["fields"])

    @property
    def is_plain(self) -> bool:
        return self.expires_at is None and not self.fields


class Generation:
    """Makes codes up and stores them, as one batch that can be resumed."""

    def __init__(self, means: Means, codes: CodeSource) -> None:
        """Take the store and who asks, and what makes codes up."""
        self._means = means
        self._codes = codes

    async def plan(
        self,
        loyalty_id: int,
        count: int,
        template: str | None = None,
        *,
        accept_guessable: bool = False,
    ) -> Plan:
        """Return what generating would mean; `template` None is the program's.

        All codes of the program count as live, and as used unless they begin otherwise: the plan
        is on the safe side.

        Raises:
            ProgramNotFound: there is no such program.
            BadValue: the template or the count cannot be.
        """
        program = await self._program(loyalty_id)
        parsed = self._template(program, template)
        return await self._planned(program, parsed, count, accept_guessable=accept_guessable)

    async def generate(
        self,
        loyalty_id: int,
        count: int | None = None,
        *,
        template: str | None = None,
        expires_at: int | None = None,
        fields: Mapping[str, str] | None = None,
        accept_guessable: bool = False,
        progress: Progress = unwatched,
        resume_batch: int | None = None,
        on_batch: Callable[[int], Awaitable[None]] | None = None,
    ) -> Batch:
        """Store exactly `count` new codes and return their batch, done.

        A code that the program has already is drawn again. `resume_batch` goes on with an
        interrupted batch; all else then stands in the batch and need not be given. Two that
        resume one batch at once make no code too many between them. `on_batch` is awaited with
        the id of the batch before anything is stored.

        Raises:
            ProgramNotFound, BatchNotFound: there is none such.
            BadValue: the plan refuses, or a field, date or count cannot be.
            CodeLimitReached: the program cannot hold so many; nothing was begun.
            StoreBusy: the store could not go on; the batch can be resumed.
            Cancelled: `progress` stopped it; the batch can be resumed.
        """
        program = await self._program(loyalty_id)
        if resume_batch is None:
            if count is None:
                raise BadValue("missing", "count")
            wanted = _Wanted(template or program.template, expires_at, fields or {})
            parsed = self._template(program, wanted.template)
            _check_values(program, wanted)
            planned = await self._planned(program, parsed, count, accept_guessable=accept_guessable)
            for refusal in planned.refusals:
                raise BadValue(f"{refusal.sentence}: {refusal.advice}", "template")
            _check_room(program, await self._codes_of(program), count)
            batch = await self._begin(program, wanted, count)
        else:
            batch = await self._resumed(program, resume_batch, count)
            wanted = _Wanted.of(batch)
            parsed = self._template(program, wanted.template)
        if on_batch is not None:
            await on_batch(batch.id)
        try:
            await self._fill(program, batch, parsed, wanted, progress)
        except BaseException as error:
            # Where this cannot be written either the batch stays `running`, and can be resumed too.
            with suppress(PromintError, StoreError):
                await self._mark(batch.id, BatchState.STOPPED)
            if isinstance(error, (Busy, ConnectionLost)):
                raise StoreBusy(str(error)) from error
            raise
        return await self._mark(batch.id, BatchState.DONE)

    # -- before ----------------------------------------------------------------------------

    async def _program(self, loyalty_id: int) -> LoyaltyProgram:
        found = None
        if 1 <= loyalty_id <= ID_MAX:
            found = await self._means.store.program(loyalty_id)
        if found is None:
            raise ProgramNotFound(str(loyalty_id))
        return found

    def _template(self, program: LoyaltyProgram, text: str | None) -> Template:
        text = text or program.template
        if not text:
            raise BadValue("the program has none, so name one", "template")
        if text != program.template and has_check(program.template):
            raise BadValue("the program's codes carry a check symbol, use its own", "template")
        return self._codes.template(text, program.code_matching)

    async def _planned(
        self, program: LoyaltyProgram, template: Template, count: int, *, accept_guessable: bool
    ) -> Plan:
        if not 1 <= count <= COUNT_MAX:
            raise BadValue(f"not 1 to {COUNT_MAX}", "count")
        live = used = await self._codes_of(program)
        if template.prefix and used + count > template.space // 2:
            used = await self._codes_of(program, template)
        return plan(template, count=count, used=used, live=live, accept_guessable=accept_guessable)

    async def _codes_of(self, program: LoyaltyProgram, template: Template | None = None) -> int:
        """Return how many codes the program has, or how many with the template's beginning."""
        store = self._means.store
        try:
            if template is None:
                return (await store.code_counts([program]))[program.id]
            wanted = CodeFilter(prefix=template.prefix)
            return await store.searching.count(
                program, wanted, now=self._means.now(), most=template.space
            )
        except (Busy, ConnectionLost) as error:
            raise StoreBusy(str(error)) from error

    async def _begin(self, program: LoyaltyProgram, wanted: _Wanted, count: int) -> Batch:
        means = self._means
        batch = Batch(
            0,
            program.id,
            BatchKind.GENERATE,
            source=wanted.template,
            author=means.author,
            token_id=means.token_id,
            created_at=means.now(),
            parameters=wanted.parameters(),
            total=count,
        )
        return await in_transaction(means.store, lambda inside: inside.insert_batch(batch))

    async def _resumed(self, program: LoyaltyProgram, batch_id: int, count: int | None) -> Batch:
        batch = await self._means.store.batch(batch_id)
        if batch is None or batch.loyalty_id != program.id or batch.kind is not BatchKind.GENERATE:
            raise BatchNotFound(str(batch_id))
        if batch.state not in RESUMABLE:
            raise BadValue(f"the batch is {batch.state}", "resume")
        if count not in (None, batch.total):
            raise BadValue(f"the batch is of {batch.total} codes", "count")
        return await self._mark(batch.id, BatchState.RUNNING)

    # -- the work --------------------------------------------------------------------------

    async def _fill(
        self,
        program: LoyaltyProgram,
        batch: Batch,
        template: Template,
        wanted: _Wanted,
        progress: Progress,
    ) -> None:
        """Draw and store what is missing, until nothing is: collisions leave a little each time."""
        means, total, inserted = self._means, batch.total, batch.inserted
        insertion = Insertion(
            batch.id,
            EventKind.GENERATED,
            means.now(),
            means.token_id,
            means.request_id,
            means.ids.new,
            most=total,
        )
        for _ in range(ROUNDS_MAX):
            if inserted >= total:
                return
            before = inserted

            async def drawn(done: int, before: int = before) -> None:
                await progress(before + done, total, "drawing")

            async def stored(done: int, before: int = before) -> None:
                await progress(before + done, total, "storing")

            async with means.store.staging.stage(program) as stage:
                await self._draw(stage, program, template, wanted, total - inserted, drawn)
                await stage.seal()
                try:
                    outcome = await stage.insert(insertion, stored)
                except BatchFull:
                    # Somebody else resumed it too: what is missing now is less than was drawn.
                    inserted = (await known_batch(means.store, batch.id)).inserted
                    continue
            inserted = outcome.inserted
            if outcome.over_limit:
                raise CodeLimitReached(str(program.id))
        raise BadValue("it makes hardly a code that the program does not have", "template")

    async def _draw(
        self,
        stage: Stage,
        program: LoyaltyProgram,
        template: Template,
        wanted: _Wanted,
        count: int,
        report: Any,
    ) -> None:
        """Put drawn codes into the stage; one block is drawn while the one before goes in."""

        def block(size: int) -> tuple[Sequence[str], Sequence[str]]:
            codes = template.draw_many(size, self._codes.random_bytes, self._codes.rude)
            # A template sees to it that codes side by side do not change each other's keys.
            return canonical("\n".join(codes), program.code_matching).split("\n"), codes

        sizes = [min(BLOCK_CODES, count - at) for at in range(0, count, BLOCK_CODES)]
        fields = json.dumps(dict(wanted.fields), ensure_ascii=False) if wanted.fields else None
        ahead = asyncio.create_task(asyncio.to_thread(block, sizes[0]))
        done = 0
        try:
            for number, size in enumerate(sizes):
                keys, codes = await ahead
                if number + 1 < len(sizes):
                    ahead = asyncio.create_task(asyncio.to_thread(block, sizes[number + 1]))
                if wanted.is_plain:
                    await stage.add_plain(done + 1, keys, codes)
                else:
                    await stage.add(
                        [
                            StagedCode(line, key, code, wanted.expires_at, fields)
                            for line, (key, code) in enumerate(
                                zip(keys, codes, strict=True), done + 1
                            )
                        ]
                    )
                done += size
                await report(done)
        finally:
            ahead.cancel()

    async def _mark(self, batch_id: int, state: BatchState) -> Batch:
        """Write how far the batch is, unless it is being taken back by now; return it."""

        async def work(inside: Transaction) -> Batch:
            batch = await inside.batch(batch_id)
            assert batch is not None
            if batch.state not in RESUMABLE:
                return batch
            finished_at = self._means.now() if state is BatchState.DONE else None
            marked = replace(batch, state=state, finished_at=finished_at)
            await inside.update_batch(marked)
            return marked

        return await in_transaction(self._means.store, work)


def _check_values(program: LoyaltyProgram, wanted: _Wanted) -> None:
    """Refuse a date that cannot be written, and additional data that the program does not have.

    Raises:
        BadValue: it names which.
    """
    if wanted.expires_at is not None and not MOMENT_MIN <= wanted.expires_at <= MOMENT_MAX:
        raise BadValue("cannot be written", "expire_date")
    for name, text in wanted.fields.items():
        if name not in program.fields:
            raise BadValue("the program has no such field", name)
        if len(text) > FIELD_TEXT_MAX:
            raise BadValue(f"longer than {FIELD_TEXT_MAX} characters", name)


def _check_room(program: LoyaltyProgram, used: int, count: int) -> None:
    """Refuse to begin what `code_limit` would not let end.

    Raises:
        CodeLimitReached: there is no room for so many.
    """
    if program.code_limit is not None and used + count > program.code_limit:
        raise CodeLimitReached(f"{used:,} codes of {program.code_limit:,}, {count:,} more")

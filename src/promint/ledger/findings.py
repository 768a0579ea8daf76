"""What differs, and the report of a check."""

from dataclasses import dataclass, field
from typing import Any

KEPT = 1_000
OF_ONE_SUBJECT = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as its events say: the table, the row in it, and what differs."""

    table: str
    subject: str
    what: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.table} {self.subject}: {self.what}"


@dataclass(slots=True)
class Report:
    """What a check has looked at, and what differs.

    `changes` is what the rows say has happened to codes, the sum over their versions;
    `recorded` is how many events of theirs there are. `nameless` are events that lack an actor,
    a request or a moment. Of the findings the first 1,000 are kept, of one row the first 5;
    `differences` counts all.
    """

    programs: int = 0
    codes: int = 0
    attachments: int = 0
    events: int = 0
    batches: int = 0
    profiles: int = 0
    changes: int = 0
    recorded: int = 0
    nameless: int = 0
    differences: int = 0
    findings: list[Finding] = field(default_factory=list)
    _last: tuple[str, str] = ("", "")
    _repeated: int = 0

    @property
    def is_right(self) -> bool:
        """Say whether nothing differs."""
        return not self.differences

    def say(self, table: str, subject: str, what: str) -> None:
        """Note a difference."""
        self.differences += 1
        self._repeated = self._repeated + 1 if self._last == (table, subject) else 1
        self._last = (table, subject)
        if self._repeated <= OF_ONE_SUBJECT and len(self.findings) < KEPT:
            self.findings.append(Finding(table, subject, what))

    def counts(self) -> dict[str, int]:
        """Return the counts by name, in the order in which they are printed."""
        return {
            "programs": self.programs,
            "codes": self.codes,
            "attachments": self.attachments,
            "events": self.events,
            "batches": self.batches,
            "profiles": self.profiles,
            "changes": self.changes,
            "recorded": self.recorded,
            "nameless": self.nameless,
            "differences": self.differences,
        }

    def line(self) -> str:
        """Return the one line for a monitor: `ledger ok …` or `ledger DIFFERS …`, and counts."""
        counts = " ".join(f"{name}={count}" for name, count in self.counts().items())
        return f"ledger {'ok' if self.is_right else 'DIFFERS'} {counts}"

    def values(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "ok": self.is_right,
            **self.counts(),
            "findings": [
                {"table": one.table, "subject": one.subject, "what": one.what}
                for one in self.findings
            ],
        }

"""What must be so for the promises to hold: facts in, findings out. Pure.

`promint doctor` shows every finding; `promint serve` refuses to start on one that is refused.
Each check is one function that makes one finding, whatever it finds, so that a reader sees
what was looked at.
"""

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from promint.store.facts import PostgresFacts, SqliteFacts, StoreFacts, schema_refusal

SECOND_US = 1_000_000
MADE_AT = 1_767_225_600 * SECOND_US
"""2026-01-01: no version is older, so a clock that says so is wrong."""
AHEAD_MAX_US = 60 * SECOND_US
"""How far in the future the newest event may lie: clocks of several machines differ a little."""
CLOCK_DIFFERENCE_MAX_US = 30 * SECOND_US
FREE_BYTES_MIN = 1024**3

POSTGRES_OLDEST = 150_000
WAL_BUG_FIRST, WAL_BUG_LAST = (3, 7, 0), (3, 51, 2)
WAL_BUG_MENDED = ((3, 44, 6), (3, 50, 7))
"""The versions that got the correction of 3.51.3 as well, with what follows in their lines."""
EXPAT_PATIENT = (2, 6, 0)
"""From here on a large token costs no more than its length."""
SYNCHRONOUS_FULL = 2

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf"),
        *("fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys"),
        *("fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs", "fuse.sshfs"),
        *("fuse.vmhgfs-fuse", "virtiofs"),
    }
)
DEFAULT_PASSWORDS = frozenset(
    {
        *("", "123456", "12345678", "admin", "changeme", "default", "example", "guest", "pass"),
        *("passw0rd", "password", "postgres", "postgresql", "promint", "root", "secret", "test"),
    }
)
PLACEHOLDERS = ("changeme", "replaceme", "yourpassword", "yoursecret", "placeholder", "todo")


class Outcome(StrEnum):
    """What a check makes of the facts."""

    OK = "ok"
    WARNING = "warning"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says: a sentence, and what to do where it is not ok."""

    check: str
    outcome: Outcome
    sentence: str
    remedy: str = ""

    @property
    def is_refused(self) -> bool:
        """Say whether the service must not start."""
        return self.outcome is Outcome.REFUSED

    @property
    def text(self) -> str:
        """The sentence and the remedy together."""
        return f"{self.sentence} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """This process: who runs it, how Python was started, its settings and its clock.

    `settings` are the environment's PROMINT_ variables, `known_settings` the names that mean
    something. `user_id` is None where there are no such ids.
    """

    now: int
    user_id: int | None
    optimize: int
    is_dev_mode: bool
    is_asyncio_debug: bool
    hashes_are_random: bool
    expat: tuple[int, ...]
    refuses_doctype: bool
    settings: Mapping[str, str]
    known_settings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is looked at; `store` is a sentence where it could not be looked at."""

    process: ProcessFacts
    store: StoreFacts | str


Verdict = tuple[Outcome, str] | tuple[Outcome, str, str]
OK, WARNING, REFUSED = Outcome


def findings(facts: Facts) -> list[Finding]:
    """Return one finding for each check that fits the store, in the order of the tables."""
    process, store = facts.process, facts.store
    found = [Finding(name, *check(process)) for name, check in PROCESS_CHECKS.items()]
    if isinstance(store, str):
        found.append(Finding("store", REFUSED, store))
    elif isinstance(store, SqliteFacts):
        found += [Finding(name, *check(store)) for name, check in SQLITE_CHECKS.items()]
        found.append(Finding("history", *_history(store.newest_event_at, process.now)))
    else:
        found += [Finding(name, *check(store)) for name, check in POSTGRES_CHECKS.items()]
        found.append(Finding("history", *_history(store.newest_event_at, process.now)))
    return found


# -- the process ---------------------------------------------------------------------------


def _user(process: ProcessFacts) -> Verdict:
    if process.user_id == 0:
        return (
            WARNING,
            "Promint runs as root: a mistake in it would be a mistake in everything.",
            "Run it as a user of its own.",
        )
    return OK, "Promint runs as an ordinary user."


def _asserts(process: ProcessFacts) -> Verdict:
    if process.optimize:
        return (
            REFUSED,
            "Python runs optimized, which takes away the checks for broken invariants.",
            "Start it without -O and without PYTHONOPTIMIZE.",
        )
    return OK, "Broken invariants are noticed."


def _debug(process: ProcessFacts) -> Verdict:
    if process.is_dev_mode or process.is_asyncio_debug:
        return (
            REFUSED,
            "Python runs in debug mode, which is slow and logs what callers sent.",
            "Unset PYTHONDEVMODE and PYTHONASYNCIODEBUG, and start it without -X dev.",
        )
    return OK, "No debug mode is on."


def _hashes(process: ProcessFacts) -> Verdict:
    if not process.hashes_are_random:
        return (
            REFUSED,
            "Hashes are the same in every process, so a caller can prepare keys that collide.",
            "Unset PYTHONHASHSEED.",
        )
    return OK, "Hashes differ from process to process."


def _xml(process: ProcessFacts) -> Verdict:
    version = ".".join(map(str, process.expat))
    if not process.refuses_doctype:
        return (
            REFUSED,
            (
                f"The XML reader takes a DOCTYPE (expat {version}), and a few bytes could become "
                "gigabytes."
            ),
            "Install Promint anew.",
        )
    if process.expat < EXPAT_PATIENT:
        return OK, f"XML with a DOCTYPE is refused, and expat {version} gets each body whole."
    return OK, f"XML with a DOCTYPE is refused (expat {version})."


def _secrets(process: ProcessFacts) -> Verdict:
    for name, value in process.settings.items():
        letters = "".join(character for character in value.lower() if character.isalnum())
        if any(word in letters for word in PLACEHOLDERS) or value.strip()[:1] == "<":
            return (
                REFUSED,
                f"{name} still holds the placeholder of an example.",
                "Put a value of your own in its place.",
            )
    return OK, "No setting holds a placeholder."


def _settings(process: ProcessFacts) -> Verdict:
    unknown = sorted(set(process.settings) - process.known_settings)
    if unknown:
        return (
            WARNING,
            f"{_listed(unknown)} in the environment means nothing to Promint.",
            "Look the name up with: promint settings",
        )
    return OK, "Every PROMINT_ variable is a setting."


def _clock(process: ProcessFacts) -> Verdict:
    if process.now < MADE_AT:
        return (
            REFUSED,
            "The clock of this machine says a time before this version was made.",
            "Set the clock, and let a time service keep it.",
        )
    return OK, "The clock says a time after this version was made."


PROCESS_CHECKS: dict[str, Callable[[ProcessFacts], Verdict]] = {
    "user": _user,
    "asserts": _asserts,
    "debug": _debug,
    "hashes": _hashes,
    "xml": _xml,
    "secrets": _secrets,
    "settings": _settings,
    "clock": _clock,
}


# -- both stores ---------------------------------------------------------------------------


def _history(newest_event_at: int | None, now: int) -> Verdict:
    """Expiry is judged by our clock: one that went back would revive codes."""
    if newest_event_at is not None and newest_event_at > now + AHEAD_MAX_US:
        seconds = (newest_event_at - now) // SECOND_US
        return (
            REFUSED,
            f"The newest event in the store is {seconds} seconds ahead of this machine's clock.",
            (
                "Set the clock; if it is right, the one that wrote the event was wrong: wait, or "
                "restore a backup."
            ),
        )
    return OK, "No event lies in the future."


def _schema(store: StoreFacts) -> Verdict:
    itself = isinstance(store, SqliteFacts)
    refusal = schema_refusal(store.schema, store.latest_schema, migrates_itself=itself)
    if refusal:
        return (REFUSED, *refusal)
    if store.schema == 0:
        return OK, "There is no database yet; it is made when it is first used."
    if store.schema < store.latest_schema:
        return OK, f"The schema is version {store.schema}; it is brought to {store.latest_schema}."
    return OK, f"The schema is version {store.schema}."


# -- SQLite --------------------------------------------------------------------------------


def _library(store: SqliteFacts) -> Verdict:
    version = ".".join(map(str, store.library))
    is_mended = any(
        store.library[:2] == mended[:2] and store.library >= mended for mended in WAL_BUG_MENDED
    )
    if WAL_BUG_FIRST <= store.library <= WAL_BUG_LAST and not is_mended:
        return (
            REFUSED,
            (
                f"SQLite {version} can damage a file that two processes write to, and commands "
                "write beside the service."
            ),
            "Install the package apsw 3.54 or newer, which brings its own SQLite.",
        )
    return OK, f"SQLite is version {version}."


def _journal(store: SqliteFacts) -> Verdict:
    if store.schema and store.journal_mode != "wal":
        return (
            REFUSED,
            (
                f"The journal mode is {store.journal_mode} and not WAL, so readers and the writer "
                "hold each other up."
            ),
            "Move the file to a local disk that can lock and map files.",
        )
    return OK, "The journal mode is WAL."


def _synchronous(store: SqliteFacts) -> Verdict:
    if store.schema and store.synchronous < SYNCHRONOUS_FULL:
        return (
            REFUSED,
            (
                "SQLite does not wait for the disk (synchronous is not FULL), so a power cut takes "
                "answered changes away."
            ),
            "Install Promint anew: it sets this itself.",
        )
    return OK, "A commit waits for the disk."


def _file_system(store: SqliteFacts) -> Verdict:
    if store.file_system is None:
        return (
            WARNING,
            "It cannot be told what file system the database is on.",
            "Make sure that it is a local disk.",
        )
    if store.file_system in NETWORK_FILE_SYSTEMS:
        return (
            REFUSED,
            (
                f"{store.path} is on a network file system ({store.file_system}), where locks and "
                "the shared memory of SQLite do not work."
            ),
            "Move it to a local disk, or use PostgreSQL.",
        )
    if store.file_system.startswith("fuse"):
        return (
            WARNING,
            f"{store.path} is on a file system outside of the kernel ({store.file_system}).",
            "Make sure that it keeps what is synced to it, or move the file.",
        )
    return OK, f"The database is on a local file system ({store.file_system})."


def _permissions(store: SqliteFacts) -> Verdict:
    open_files = [
        file.path
        for file in store.files
        if file.mode & (stat.S_IRWXO | stat.S_IWGRP)  # others at all, or the group to write
    ]
    if open_files:
        return (
            REFUSED,
            f"{_listed(open_files)} can be read or written by other users of this machine.",
            f"Run: chmod 600 {' '.join(open_files)}",
        )
    return OK, "Only its owner can read and write the database."


def _folder(store: SqliteFacts) -> Verdict:
    if store.folder.mode & stat.S_IWOTH and not store.folder.mode & stat.S_ISVTX:
        return (
            REFUSED,
            (
                f"Everybody may replace the database: the folder {store.folder.path} can be "
                "written by all."
            ),
            f"Run: chmod o-w {store.folder.path}",
        )
    return OK, "The folder is not open to all."


def _names(store: SqliteFacts) -> Verdict:
    linked = [file.path for file in store.files if file.links > 1]
    if linked:
        return (
            REFUSED,
            (
                f"{_listed(linked)} has a second name (a hard link). Under two names a database "
                "has two logs, and is damaged."
            ),
            "Remove the other name: find it with find -samefile.",
        )
    return OK, "The database has one name."


def _space(store: SqliteFacts) -> Verdict:
    mebibytes = store.free_bytes // 1024**2
    if store.free_bytes < FREE_BYTES_MIN:
        return (
            WARNING,
            (
                f"Only {mebibytes} MiB are free on the disk. When it is full, changes get 503 and "
                "look-ups go on."
            ),
            "Make room.",
        )
    return OK, "There is room on the disk."


SQLITE_CHECKS: dict[str, Callable[[SqliteFacts], Verdict]] = {
    "schema": _schema,
    "library": _library,
    "journal": _journal,
    "synchronous": _synchronous,
    "file system": _file_system,
    "permissions": _permissions,
    "folder": _folder,
    "names": _names,
    "space": _space,
}


# -- PostgreSQL ----------------------------------------------------------------------------


def _must_be(
    setting: str, values: Iterable[str], danger: str, remedy: str
) -> Callable[[PostgresFacts], Verdict]:
    """Return the check of a setting of the server that may have these values only."""
    allowed = frozenset(values)

    def check(store: PostgresFacts) -> Verdict:
        # A server that is too old for a setting is behaving as its default says.
        value = store.settings.get(setting)
        if value is not None and value not in allowed:
            return REFUSED, f"{setting} is {value}: {danger}", remedy
        return OK, f"{setting} is as it has to be."

    return check


def _in_server(setting: str, value: str) -> str:
    return f"Set {setting} = {value} in postgresql.conf and restart the server."


def _everywhere(setting: str) -> str:
    return (
        f"Run ALTER ROLE … RESET {setting}, ALTER DATABASE … RESET {setting}, and set it right "
        "in postgresql.conf and in the database URL."
    )


def _version(store: PostgresFacts) -> Verdict:
    major = store.version // 10_000
    if store.version < POSTGRES_OLDEST:
        return (
            REFUSED,
            (
                f"PostgreSQL is version {major}, and Promint needs "
                f"{POSTGRES_OLDEST // 10_000} or newer."
            ),
            "Upgrade the server.",
        )
    return OK, f"PostgreSQL is version {major}."


def _primary(store: PostgresFacts) -> Verdict:
    if store.is_replica:
        return (
            REFUSED,
            "That PostgreSQL is a read-only replica.",
            "Name the primary in the database URL.",
        )
    return OK, "The server is the primary."


def _encoding(store: PostgresFacts) -> Verdict:
    if store.encoding != "UTF8":
        return (
            REFUSED,
            f"The database has the encoding {store.encoding}, which cannot hold every code.",
            "Make a database with ENCODING 'UTF8', and restore a backup into it.",
        )
    return OK, "The encoding is UTF8."


def _unlogged(store: PostgresFacts) -> Verdict:
    if store.unlogged:
        return (
            REFUSED,
            f"{_listed(store.unlogged)} is UNLOGGED: a crash of the server would empty it.",
            f"Run: {' '.join(f'ALTER TABLE {name} SET LOGGED;' for name in store.unlogged)}",
        )
    return OK, "Every table survives a crash."


def _server_clock(store: PostgresFacts) -> Verdict:
    seconds = abs(store.clock_ahead_us) / SECOND_US
    if abs(store.clock_ahead_us) > CLOCK_DIFFERENCE_MAX_US:
        return (
            REFUSED,
            f"The clocks of this machine and of the database differ by {seconds:.0f} seconds.",
            "Let a time service set both.",
        )
    return OK, "The clocks of this machine and of the database agree."


def _password(store: PostgresFacts) -> Verdict:
    away = [host for host in store.hosts if not _is_local(host)]
    if not away:
        return OK, "The database is on this machine."
    if store.is_authenticated:
        return OK, "The server knows us by more than a password."
    if store.password is None:
        return (
            REFUSED,
            f"PostgreSQL at {_listed(away)} lets everybody in without a password.",
            "Give the role a password, and let pg_hba.conf ask for it (scram-sha-256).",
        )
    if store.password.lower() in DEFAULT_PASSWORDS:
        return (
            REFUSED,
            f"The password for PostgreSQL at {_listed(away)} is a default that everybody knows.",
            "Give the role a password of its own: ALTER ROLE … PASSWORD …",
        )
    return OK, "The password is no default."


def _encryption(store: PostgresFacts) -> Verdict:
    if not store.is_encrypted and any(not _is_local(host) for host in store.hosts):
        return (
            WARNING,
            "The connection to the database is not encrypted.",
            "Turn ssl on in postgresql.conf, and add sslmode=verify-full to the database URL.",
        )
    return OK, "Nobody can listen to the connection."


def _standby(store: PostgresFacts) -> Verdict:
    if store.settings.get("synchronous_commit") == "local" and store.settings.get(
        "synchronous_standby_names"
    ):
        return (
            WARNING,
            (
                "A commit does not wait for the standby (synchronous_commit is local), which may "
                "take over without it."
            ),
            _everywhere("synchronous_commit"),
        )
    return OK, "A commit waits for whom it should."


def _role(store: PostgresFacts) -> Verdict:
    if store.is_superuser:
        return (
            WARNING,
            "The role is a superuser of the server.",
            "Use a role that owns its database only.",
        )
    return OK, "The role is an ordinary one."


def _vacuum(store: PostgresFacts) -> Verdict:
    if store.settings.get("autovacuum") == "off":
        return WARNING, "autovacuum is off: tables grow with every change.", "Turn it on."
    return OK, "Tables are kept in order."


def _statements_logged(store: PostgresFacts) -> Verdict:
    logs = store.settings.get("log_statement") in ("mod", "all")
    if logs and store.settings.get("log_parameter_max_length") != "0":
        return (
            WARNING,
            "The server writes codes into its log (log_statement).",
            "Set log_parameter_max_length = 0, or log_statement = none.",
        )
    return OK, "The server logs no statements."


POSTGRES_CHECKS: dict[str, Callable[[PostgresFacts], Verdict]] = {
    "schema": _schema,
    "version": _version,
    "primary": _primary,
    "fsync": _must_be(
        "fsync", ["on"], "a power cut can damage the database.", _in_server("fsync", "on")
    ),
    "synchronous_commit": _must_be(
        "synchronous_commit",
        ["on", "local", "remote_write", "remote_apply"],
        "an answered change can be lost.",
        _everywhere("synchronous_commit"),
    ),
    "full_page_writes": _must_be(
        "full_page_writes",
        ["on"],
        "a power cut can damage the database.",
        _in_server("full_page_writes", "on"),
    ),
    "data_sync_retry": _must_be(
        "data_sync_retry",
        ["off"],
        "the server would go on after the disk has failed.",
        _in_server("data_sync_retry", "off"),
    ),
    "zero_damaged_pages": _must_be(
        "zero_damaged_pages",
        ["off"],
        "damaged pages would be emptied without a word.",
        _everywhere("zero_damaged_pages"),
    ),
    "ignore_checksum_failure": _must_be(
        "ignore_checksum_failure",
        ["off"],
        "damaged pages would be taken for good.",
        _everywhere("ignore_checksum_failure"),
    ),
    "read only": _must_be(
        "default_transaction_read_only",
        ["off"],
        "nothing could be changed.",
        _everywhere("default_transaction_read_only"),
    ),
    "encoding": _encoding,
    "unlogged": _unlogged,
    "server clock": _server_clock,
    "password": _password,
    "encryption": _encryption,
    "standby": _standby,
    "role": _role,
    "vacuum": _vacuum,
    "logged": _statements_logged,
}


def _is_local(host: str) -> bool:
    return host in ("", "localhost", "::1") or host.startswith(("/", "127."))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

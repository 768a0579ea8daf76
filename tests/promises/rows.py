"""The promises in words: the one table that docs/promises.md is made from.

A row says what is promised, how it is kept, what its tests show and which fault they have to
find. Rows that are missing here, 9, 22 to 26 and 40, are not claimed yet.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. `instead` says what stands in for a tool, or why nothing is proved."""

    number: int
    promise: str
    mechanism: str
    shows: str
    fault: str
    instead: str = ""


_ALL = (
    Row(
        1,
        "A single-use code works once. Ever.",
        "The decision is written only if the code's version is still the one that was read; one"
        " transaction holds the code, its event and the answer to a repeated request.",
        "Codes are activated by several clients whose last bytes go out together, over several"
        " processes, also with a delay between service and database: each code is used exactly"
        " once, every other client is refused cleanly.",
        "A build that reads first and writes later without a second look.",
    ),
    Row(
        2,
        "A limit of N is met N times, for a code, a profile and a program together.",
        "Counters are rows with versions, read and written in one order; a batch is written whole"
        " or not at all.",
        "Three times as many clients as places race for the uses of a code, the holders of a code,"
        " the codes of a profile and of a program: as many succeed as the tightest limit allows.",
        "A build that writes counters back without looking whether they have moved.",
    ),
    Row(
        3,
        "What was answered with success is stored, whatever crashes.",
        "An answer is sent after the commit has returned, never before.",
        "Service and database are killed at random moments while customers work: each answer that"
        " anybody got is true of the store, no change is there in part.",
        "A build that answers before it commits.",
    ),
    Row(
        4,
        "That holds after a power cut as well.",
        "SQLite runs with `synchronous=FULL`, PostgreSQL with `fsync` and `synchronous_commit`.",
        "Everything that was not synced is thrown away at random moments: no answered change is"
        " lost, the database is whole.",
        "`synchronous=NORMAL`, which has to lose something.",
        "LazyFS, which throws away what was not synced, is to be had in source only. For SQLite a"
        " layer under the library does the same: it keeps apart what was written and not synced,"
        " and leaves none, some or all of it, in any order, single writes torn. For PostgreSQL"
        " nothing takes its place, so there this is unproved; row 3 kills its whole server, which"
        " loses what the operating system was not given, and no more.",
    ),
    Row(
        5,
        "A request with an `Idempotency-Key` can be repeated at will; it happens once.",
        "The key, the effect and the answer are written in one transaction.",
        "Keyed requests whose answers are cut off are repeated, also after a kill between commit"
        " and answer and after 23 h 59 min: each has one effect and, byte for byte, one answer;"
        " another body under the same key is refused.",
        "Builds that look for the key first and write it later, or after the commit.",
    ),
    Row(
        6,
        "No answer is ever a wrong “already used”.",
        "A commit whose outcome is unknown is looked up by its event before anything else is done.",
        "The line to the database is cut, at any answer and at those to commits, and its backends"
        " are killed: every answer is a success, a refusal that somebody else caused, or a 503;"
        " repeated with its key it agrees with the database.",
        "Builds that take a broken connection to mean that nothing was written, or that the code"
        " was used.",
    ),
    Row(
        7,
        "Everybody sees one order of events.",
        "Decisions and look-ups are made on the primary, without a cache.",
        "Histories of many clients on few codes, during faults, are judged for each code by a"
        " checker of linearizability.",
        "A build that answers look-ups from a cache of one second.",
        "Porcupine, the checker that is most in use, is a Go module, and none was found on PyPI,"
        " npm or in Debian. The tests have the same search of their own, held to known histories"
        " and to brute force.",
    ),
    Row(
        8,
        "An import is there whole, or reported row by row.",
        "A chunk of an import is one transaction with the count of its batch; all or nothing is one"
        " transaction.",
        "Imports are killed at random moments: what is there is what the batch counts; resumed"
        " they are complete, and no code is there twice.",
        "A build that stores each row on its own.",
    ),
    Row(
        10,
        "Guessing is stopped and shown.",
        "Wrong codes are counted per token, network and program.",
        "Many clients try wrong codes at once: no more than the limit get through, the others get"
        " 429 with Retry-After; callers elsewhere lose nothing.",
        "A limiter that counts without atomicity.",
    ),
    Row(
        11,
        "The answer tells a stranger nothing.",
        "Not yours and not there are one refusal.",
        "Answers about unknown and about foreign codes are equal byte for byte, and their times"
        " cannot be told apart.",
        "A build that returns early where nothing is found.",
    ),
    Row(
        12,
        "Tenants are walls.",
        "A token names its programs, databases and scopes; every use case asks it first.",
        "Every call, in JSON and XML, with tokens of every scope, on own, foreign and absent"
        " programs and databases: nothing foreign is read, changed or counted.",
        "Builds that drop one check each.",
    ),
    Row(
        13,
        "One code, one spelling.",
        "A code's key is computed by one function, in the service, never by a collation.",
        "The key is stable over all of Unicode; look-alikes meet in one code or are refused; both"
        " stores agree.",
        "Keys by upper case alone.",
    ),
    Row(
        14,
        "A code expires at the instant that was set.",
        "Moments are UTC integers; the program's zone counts only where a date is read.",
        "In every time zone, around every change of its clock: one moment before the expiry the"
        " code works, from it on it does not; other changes never move it.",
        "A build that takes the machine's midnight.",
    ),
    Row(
        15,
        "Counts, dates and limits stay sane.",
        "Each is checked by the wire, by the domain and by the database.",
        "Absurd numbers and dates are refused at every way in, and each layer holds alone.",
        "Builds without one of the layers.",
    ),
    Row(
        16,
        "A restart of the database is a hiccup.",
        "Broken connections are replaced; what is in doubt is looked up, the rest is tried again.",
        "PostgreSQL is stopped and its backends are killed under load: nothing is lost or doubled,"
        " callers see 503 at most, and nobody has to restart the service.",
        "A build that keeps its broken connections.",
    ),
    Row(
        17,
        "A full disk hurts nothing.",
        "What cannot be written is answered 503; reads go on.",
        "The file system fills up under load: no answered change is lost, reads are served, writes"
        " resume without a restart.",
        "A build that ignores the error of a write.",
    ),
    Row(
        18,
        "A sick disk stops the service and corrupts nothing.",
        "After an I/O error on commit nothing is acknowledged any more.",
        "The n-th write or sync fails, for each n of a redemption: no false answer, the database"
        " opens whole.",
        "A build that tries the sync again.",
    ),
    Row(
        19,
        "Backups restore.",
        "SQLite's online backup; PostgreSQL's own tools; a restore is checked by the ledger.",
        "Backups are made under load: each restores, and has what was answered before.",
        "A copy of the file without its log.",
    ),
    Row(
        20,
        "A personal code has one holder, and only the holder's code is used.",
        "Attachment, code and event are one transaction under the code's version.",
        "Several profiles attach, detach and activate the same codes at once: at no instant has"
        " one of them two holders, and no activation is another's.",
        "A build that reads first and writes later without a second look.",
    ),
    Row(
        21,
        "Every change is on record.",
        "The event is written in the transaction of its change.",
        "After races and kills, events, rows, attachments and counts are read past the service and"
        " say the same; each event has its time, token and request.",
        "A build that writes events after the commit.",
    ),
    Row(
        27,
        "A stolen database holds no tokens.",
        "Tokens are kept as SHA-256 of 160 random bits or more.",
        "A dump is searched for the tokens that were issued, in every usual form.",
        "A build that stores them as they are.",
    ),
    Row(
        28,
        "Logs hold no tokens and no codes.",
        "Logs name the call, never its query, headers or body.",
        "Marked tokens and codes are sent in every place where they can stand: no marker is in any"
        " log, metric or error.",
        "A build that logs what it receives.",
    ),
    Row(
        29,
        "A revoked token is dead within a second.",
        "No token is remembered for longer.",
        "Tokens are revoked and expire under load, over several processes.",
        "A build that remembers tokens for a minute.",
    ),
    Row(
        30,
        "Tokens cannot be timed out of the service.",
        "Tokens are looked up by hash and compared in constant time.",
        "Times for wrong first bytes, wrong last bytes and unknown tokens cannot be told apart.",
        "A build that compares plain tokens one after the other.",
    ),
    Row(
        31,
        "XML bombs do nothing.",
        "A DOCTYPE is refused before anything is expanded.",
        "Bombs of every known kind are refused at once, at no cost to others.",
        "A build with the parser of the standard library.",
    ),
    Row(
        32,
        "XML reads no files and calls no one.",
        "A DOCTYPE is refused; the parser has no network.",
        "Forms of XXE, with a listener and a marked file beside: neither is touched.",
        "A build that resolves entities.",
    ),
    Row(
        33,
        "One JSON text has one meaning.",
        "One strict reader.",
        "Ambiguous and malformed texts are refused or read in the one way that the contract says.",
        "A build with the reader of the standard library.",
    ),
    Row(
        34,
        "JSON and XML are the same API.",
        "Both become one typed shape.",
        "Generated requests go in both forms to twin stores: same answers, same state.",
        "A build whose XML skips a check.",
    ),
    Row(
        35,
        "SQLite and PostgreSQL behave the same.",
        "One interface, one decision, one set of tests.",
        "Generated sequences of calls go to both: no answer differs.",
        "A build that relies on the collation.",
    ),
    Row(
        36,
        "No input breaks the service.",
        "Every byte passes a strict reader and typed shapes.",
        "Generated and mutated requests, from the document of the management API and for every"
        " call of the vendor's: no 5xx, no undocumented status, no crash.",
        "A build with one error handler less.",
        "Hypothesis stands in for a fuzzer that is guided by coverage.",
    ),
    Row(
        37,
        "Nobody sets fields that they should not.",
        "Calls read the fields that they know, and nothing else.",
        "Every writable call is sent every field of the server's own: refused or without effect.",
        "A build that takes over what it is sent.",
    ),
    Row(
        38,
        "Large and slow clients harm no one.",
        "Limits of size, deadlines for head and body.",
        "Many clients at once are slow with head, body or reading: all are cut, others are served."
        " Bodies over their bound are refused before a tenth more is read; memory is reported.",
        "The HTTP server without its deadlines; a build without the bound.",
    ),
    Row(
        39,
        "Request boundaries are unambiguous.",
        "One strict HTTP parser; what is ambiguous closes the connection.",
        "Raw requests with conflicting lengths, folded headers and broken chunks: refused or"
        " closed, never two answers.",
        "A build with a lenient parser.",
        "The requests go to the service itself; behind nginx and HAProxy nothing is proved.",
    ),
    Row(
        41,
        "SQL cannot be injected.",
        "Values travel as parameters; no caller can say what is sorted by.",
        "Hostile texts in every field, filter and address: no error, no row more or less, and what"
        " is kept is the text as it was.",
        "A build that formats a value into a statement.",
        "Bandit's rules run as rules S of ruff, in `make check`, instead of bandit and semgrep; all"
        " statements stand in the store's folder, where S608 is answered for in words.",
    ),
    Row(
        42,
        "Exports open safely and come back whole.",
        "Cells that a spreadsheet would run are defused by default, and restored on import.",
        "Hostile texts are exported in every format and imported again; no cell of them would"
        " start a formula.",
        "A build without the guard.",
        "Cells are judged by openpyxl and Python's csv instead of LibreOffice.",
    ),
    Row(
        43,
        "An export is one moment, at constant cost.",
        "It reads from one snapshot and streams.",
        "Codes are attached one after the other in an order of chance, and exported meanwhile: each"
        " export has the first so many of that order attached. Memory is reported.",
        "A build that reads page by page without a snapshot.",
    ),
    Row(
        44,
        "It is fast and fair under a hot code.",
        "Requests that arrive together are committed together, in order.",
        "Half of all activations hit one code, 300 a second: all succeed, latencies are reported."
        " While a slow store has a queue, no request is passed by more than are in it.",
        "A build that serves the newest first.",
    ),
    Row(
        45,
        "Overload bends the service and does not break it.",
        "A queue bounded by the wait to be expected; what is above is told 503 with Retry-After at"
        " once.",
        "Three times what a slow store can do is sent: what is accepted is done and waits for no"
        " more others than it may; goodput and recovery are reported.",
        "A build with an unbounded queue.",
    ),
    Row(
        46,
        "It runs for weeks.",
        "Nothing is kept without a bound.",
        "Up to millions of uses of a code: the second half takes no more memory, far less than a"
        " leak would, and no connection stays open.",
        "A build that leaks a kilobyte per request.",
        "A soak by requests and not by hours; faults are in rows 3, 6 and 16 to 18.",
    ),
    Row(
        47,
        "Upgrades lose nothing.",
        "A process that is told to stop finishes what it has; a migration is one transaction.",
        "Processes are restarted in turn under load: no request fails. Migrations are killed before"
        " any of their statements: nothing is there in part, and the next try is whole.",
        "A build that does not drain; one that migrates in pieces.",
        "Two versions side by side, and going back, are not promised: a service does not start on"
        " another schema than its own.",
    ),
    Row(
        48,
        "Wrong clocks do no harm.",
        "Leases and deadlines run on the monotonic clock; the time of a process never goes back.",
        "The clock jumps by a second, an hour, a day and to 1970, in both directions: no expired"
        " code comes back to life while a process lives, jobs are taken over, keys are answered.",
        "Leases by the wall clock; a clock that may go back.",
    ),
    Row(
        49,
        "It will not run unsafe.",
        "`promint doctor` looks at start, and refuses.",
        "Each unsafe setting, one by one: refused with a sentence and what to do.",
        "Doctors that skip one check each.",
    ),
    Row(
        50,
        "What you install is what was built.",
        "Every dependency is locked by hash; a wheel is made of its sources and of nothing else.",
        "Each locked package has a hash. Two wheels, built in two folders from files of other dates"
        " and with one `SOURCE_DATE_EPOCH`, are the same bytes.",
        "A dependency without a hash; builds that take the time of day.",
        "That the bill of materials names all that is installed, tests/test_tooling.py holds; known"
        " holes are asked for by `make audit`, which needs the internet.",
    ),
    Row(
        51,
        "The tests themselves are good.",
        "Every promise has a planted fault; the core is tested by mutation.",
        "Controls are tried again and again. `make mutate` changes the core in one place at a time:"
        " docs/mutation.md says how many of these mutants are killed, and which are not.",
        "The planted faults themselves.",
    ),
    Row(
        52,
        "Errors help you and not an attacker.",
        "One last handler; the request id leads to the log.",
        "Forced faults: no trace, statement, path or version in any answer; an id finds one line.",
        "A build in debug mode.",
    ),
)

ROWS = {row.number: row for row in _ALL}

"""The races: many clients want what only some may have, and who got it is counted.

Each race is run against the service as it is, and against builds with a planted fault, which
the very same race has to find. A race asks first whether the promise was kept; then whether
answers, rows, attachments and events say the same; both raise `Broken`. Last it asks whether
everybody else was refused cleanly.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from promint.domain.model import LoyaltyProgram
from promint.service.administration import Administration
from tests.races.gate import Gate
from tests.races.ledger import SHARDS, Kind, Ledger, demand, identities, profiles
from tests.races.requests import (
    ATTACH,
    IMPORT,
    Answer,
    Request,
    activate,
    attach,
    delete,
    detach,
    import_codes,
    update,
)
from tests.running import Running

LIMIT = 14
TAKEN = 4
PLACES = LIMIT - TAKEN


def race_for_single_uses(service: Running, codes: int, racers: int) -> None:
    """Each code is activated by several clients at once: one of them may."""
    names = [f"S{number}" for number in range(codes)]
    program = attached_codes(service, names)

    with Gate(service, min(500, racers * codes)) as gate:
        answers = gate.release([activate(program, name) for name in names for _ in range(racers)])

    won = successes_by(answers, "code")
    demand(set(won.values()) == {1}, sum(won.values()), f"uses of {codes} single-use codes")
    settle(service, answers, [program], "already_activated")


def race_for_limited_uses(service: Running, limits: Sequence[int]) -> None:
    """A universal code with a limit is activated by three times as many clients."""
    programs = make_programs(
        service, ({"multiple_usage": True, "activation_limit": limit} for limit in limits)
    )
    database = service.database()
    (profile,) = service.profiles(database, 1)

    with Gate(service) as gate:
        succeed(gate.release([attach(program, database, profile, "ALL") for program in programs]))
        answers = gate.release(
            [
                activate(program, "ALL")
                for program, limit in zip(programs, limits, strict=True)
                for _ in range(3 * limit)
            ]
        )

    won = successes_by(answers, "loyalty_id")
    wanted = dict(zip(programs, limits, strict=True))
    demand(won == wanted, "uses", won, "of codes with the limits", wanted)
    settle(service, answers, programs, "activation_limit", "already_activated")


def race_for_any_code(service: Running, codes: int, clients: int, *, buckets: int = 1) -> None:
    """Clients take codes until each is told that there are no more."""
    program = service.program([f"A{number}" for number in range(codes)], buckets=buckets)
    database = service.database()
    customers = service.profiles(database, clients)
    answers: list[Answer] = []

    with Gate(service, clients) as gate:
        while True:
            wave = gate.release([attach(program, database, profile) for profile in customers])
            answers += wave
            given = Counter(answer.code for answer in answers if answer.is_success)
            twice = [code for code, times in given.items() if times > 1]
            demand(not twice, "given out more than once:", twice)
            if any(answer.reason == "none_free" for answer in wave):
                demand(len(given) == codes, "none_free with", codes - len(given), "codes left")
            if not any(answer.is_success for answer in wave):
                break

    demand(len(given) == codes, len(given), "of", codes, "codes were given out")
    settle(service, answers, [program], "none_free")


def race_for_any_place(service: Running, codes: int, clients: int) -> None:
    """As many profiles as universal codes have places, and some more, take any code."""
    names = [f"R{number}" for number in range(codes)]
    program = service.program(names, multiple_usage=True, attach_limit=PLACES)
    database = service.database()
    customers = service.profiles(database, clients)

    with Gate(service, 64) as gate:
        answers = gate.release([attach(program, database, profile) for profile in customers])

    given = Counter(answer.code for answer in answers if answer.is_success)
    demand(given == dict.fromkeys(names, PLACES), f"{PLACES} places each were given out as", given)
    settle(service, answers, [program], "none_free")


def race_for_unknown_codes(service: Running, codes: int, racers: int) -> None:
    """Several profiles ask for one code that nobody has made: one gets it."""
    program = service.program()
    database = service.database()
    customers = service.profiles(database, racers)
    names = [f"N{number}" for number in range(codes)]

    with Gate(service) as gate:
        answers = gate.release(
            [attach(program, database, profile, name) for name in names for profile in customers]
        )

    won = successes_by(answers, "code")
    demand(set(won.values()) == {1}, sum(won.values()), f"holders of {codes} codes")
    settle(service, answers, [program], "already_attached")


def race_of_unknown_profiles(service: Running, emails: int, racers: int) -> None:
    """One new e-mail comes with several requests, some for one code: it becomes one profile."""
    program = service.program([f"P{number}" for number in range(emails * racers)])
    database = service.database(creates_profiles=True)
    customers = [f"new-{number}@example.com" for number in range(emails)]

    with Gate(service) as gate:
        answers = gate.release(
            [
                attach(program, database, email, f"ONE-{email}" if racer % 2 else None)
                for email in customers
                for racer in range(racers)
            ]
        )

    made = profiles(service.url, database)
    demand(len(made) == emails, len(made), f"profiles of {emails} e-mails")
    known = dict(identities(service.url, database))
    demand(known.keys() == set(customers), "identities", known)
    demand(set(known.values()) == made, "identities", known, "of profiles", made)
    won = successes_by(answers, "email")
    demand(set(won.values()) == {racers - racers // 2 + 1}, "attached to each", won)
    ledger = settle(service, answers, [program], "already_attached")
    for answer in answers:
        for event in ledger.by_request.get(answer.request.id, []):
            holder = event.profile_id or known[answer.request.fields["email"]]
            demand(known[answer.request.fields["email"]] == holder, answer.request, "hit", event)


def race_of_imports(service: Running, programs: int) -> None:
    """The same unknown codes are imported several times at once, and some are attached as well."""
    numbers = make_programs(service, [{}] * programs)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    names = [f"M{number}" for number in range(20)]

    with Gate(service, 48) as gate:
        answers = gate.release(
            [
                import_codes(number, *names)
                if racer % 2
                else attach(number, database, profile, names[racer])
                for number in numbers
                for racer in range(16)
            ]
        )

    ledger = Ledger.read(service.url, *numbers)
    made: Counter[int] = Counter()
    for answer in answers:
        if answer.request.name == IMPORT and answer.is_success:
            made[answer.request.fields["loyalty_id"]] += answer.json["inserted"]
    for event in (event for events in ledger.history.values() for event in events):
        made[event.shard_key // SHARDS] += event.kind == Kind.CREATED
    demand(made == dict.fromkeys(numbers, len(names)), "codes were made", made)
    attached = [answer for answer in answers if answer.request.name == ATTACH]
    settle(service, attached, numbers)
    assert all(answer.is_success for answer in answers), answers


def race_with_deletions(service: Running, customers: int) -> None:
    """Profiles are deleted while they get codes: what is not used is free again."""
    program = service.program([f"D{number}" for number in range(8 * customers)])
    database = service.database()
    ids = service.profiles(database, customers)

    def requests(profile: str) -> list[Request]:
        """The deletion comes in the middle; of the last code nobody knows who uses it when."""
        some = [attach(program, database, profile) for _ in range(6)]
        named = attach(program, database, profile, f"N{profile}")
        return [
            *some[:3],
            named,
            delete(database, profile),
            activate(program, f"N{profile}"),
            *some[3:],
        ]

    with Gate(service) as gate:
        answers = gate.release([request for profile in ids for request in requests(profile)])

    ledger = Ledger.read(service.url, program)
    left = profiles(service.url, database)
    demand(not left, "profiles left after all were deleted:", left)
    for code in ledger.codes.values():
        is_kept = code.activation_count > 0
        demand(is_kept or not code.attach_count, "an unused code of a deleted profile", code)
    settle(service, answers, [program], "profile_not_found", "not_attached", "code_not_found")


def race_for_the_last_codes(service: Running, programs: int) -> None:
    """Sixteen clients make codes, by attaching and by importing, where ten may still be made."""
    numbers = make_programs(service, [{"code_limit": LIMIT}] * programs)
    database = service.database()
    customers = service.profiles(database, 16)

    with Gate(service) as gate:
        first = [f"OLD{number}" for number in range(TAKEN)]
        succeed(gate.release([import_codes(number, *first) for number in numbers]))
        answers = gate.release(
            [
                import_codes(number, f"NEW{place}")
                if place % 4 == 3
                else attach(number, database, profile, f"NEW{place}")
                for number in numbers
                for place, profile in enumerate(customers)
            ]
        )

    made = successes_by(answers, "loyalty_id")
    demand(set(made.values()) == {PLACES}, "codes made where", PLACES, "had room:", made)
    settle(service, answers, numbers, "code_limit")


def race_for_the_last_of_a_profile(service: Running, customers: int) -> None:
    """Sixteen requests attach codes to one profile, any or named, that may hold ten more."""
    codes = [f"F{number}" for number in range(LIMIT * customers)]
    program = service.program(codes, profile_limit=LIMIT)
    database = service.database()
    ids = service.profiles(database, customers)

    with Gate(service) as gate:
        succeed(gate.release([attach(program, database, one) for one in ids for _ in range(TAKEN)]))
        answers = gate.release(
            [
                attach(program, database, one, f"N{one}-{number}" if number % 2 else None)
                for one in ids
                for number in range(16)
            ]
        )

    won = successes_by(answers, "profile_id")
    demand(set(won.values()) == {PLACES}, "codes for profiles that could hold", PLACES, won)
    settle(service, answers, [program], "profile_limit")


def race_for_the_last_places(service: Running, codes: int) -> None:
    """Sixteen profiles attach one universal code that has room for ten more."""
    names = [f"L{number}" for number in range(codes)]
    program = service.program(names, multiple_usage=True, attach_limit=LIMIT)
    database = service.database()
    customers = service.profiles(database, TAKEN + 16)

    def attached(to: Sequence[str]) -> list[Request]:
        return [attach(program, database, profile, name) for name in names for profile in to]

    with Gate(service) as gate:
        succeed(gate.release(attached(customers[:TAKEN])))
        answers = gate.release(attached(customers[TAKEN:]))

    won = successes_by(answers, "code")
    demand(set(won.values()) == {PLACES}, "attached where", PLACES, "had room:", won)
    settle(service, answers, [program], "attach_limit")


def race_for_three_limits(service: Running, codes: int, profiles: int, tightest: str) -> None:
    """Each of many profiles attaches each of many new codes, where three limits count at once.

    Two of the limits are just wide enough for all; the tightest, one of `attach_limit`,
    `profile_limit` and `code_limit`, is a third of that. Exactly what it allows succeeds.
    """
    wide = {"attach_limit": profiles, "profile_limit": codes, "code_limit": codes}
    limits: dict[str, Any] = {**wide, tightest: wide[tightest] // 3}
    program = service.program(multiple_usage=True, **limits)
    database = service.database()
    customers = service.profiles(database, profiles)
    names = [f"T{number}" for number in range(codes)]

    with Gate(service) as gate:
        answers = gate.release(
            [attach(program, database, profile, name) for name in names for profile in customers]
        )

    won = sum(answer.is_success for answer in answers)
    allowed = codes * profiles // wide[tightest] * limits[tightest]
    demand(won == allowed, won, "successes where", tightest, "allows", allowed, "of", len(answers))
    settle(service, answers, [program], tightest)


def race_of_one_key(service: Running, keys: int, racers: int) -> None:
    """One request with one idempotency key comes several times at once: it happens once."""
    programs, requests = keyed_requests(service, keys)

    with Gate(service, 4 * racers) as gate:
        answers = gate.release([request.again() for request in requests for _ in range(racers)])

    ledger = Ledger.read(service.url, *programs)
    for same in grouped(answers, lambda answer: answer.request.key):
        bodies = {answer.body for answer in same}
        demand(len(bodies) == 1, same[0].request, "was answered in several ways", bodies)
        ledger.check_effect(same[0].request, same[0], {answer.request.id for answer in same})
    ledger.check()
    succeed(answers)


def race_of_everything(
    service: Running, codes: int, racers: int, waves: int, *, seed: int, multiple_usage: bool
) -> None:
    """Several profiles attach, detach, activate and change the same codes."""
    names = [f"E{number}" for number in range(codes)]
    program = service.program(names, multiple_usage=multiple_usage, attach_limit=3)
    database = service.database()
    customers = service.profiles(database, 4)
    rng = random.Random(seed)
    years = iter(range(2030, 9999))

    def anything(code: str) -> Request:
        profile = rng.choice(customers)
        kind = rng.random()
        if kind < 0.4:
            return attach(program, database, profile, code)
        if kind < 0.7:
            return detach(program, database, profile, code)
        if kind < 0.8:
            return activate(program, code)
        if kind < 0.9:
            return update(program, code, activated=rng.random() < 0.3)
        return update(program, code, expire_date=year(next(years)))

    with Gate(service) as gate:
        answers = [
            answer
            for _ in range(waves)
            for answer in gate.release([anything(name) for name in names for _ in range(racers)])
        ]

    ledger = settle(
        service,
        answers,
        [program],
        *("already_attached", "not_attached", "attached_to_other", "attached_to_several"),
        *("already_activated", "attach_limit"),
    )
    for answer in answers:
        ledger.check_reason(answer, {answer.request.id})


# -- before and after a race ---------------------------------------------------------------


def keyed_requests(service: Running, keys: int) -> tuple[list[int], list[Request]]:
    """Return two programs, and so many requests with a key of their own of each of four kinds."""
    # So many codes that two processes hardly ever take the same: only the key is in the way.
    personal = service.program([f"K{number}" for number in range(100 * keys)])
    universal = service.program([f"K{number}" for number in range(keys)], multiple_usage=True)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    numbers = range(keys)
    with Gate(service) as gate:
        held = [attach(universal, database, profile, f"K{number}") for number in numbers]
        succeed(gate.release(held))

    def key(kind: str, number: int) -> str:
        return f"{kind}-{personal}-{number}"

    return [personal, universal], [
        *(attach(personal, database, profile, key=key("any", n)) for n in numbers),
        *(attach(personal, database, profile, f"N{n}", key=key("new", n)) for n in numbers),
        *(activate(universal, f"K{n}", key=key("use", n)) for n in numbers),
        *(
            update(universal, f"K{n}", key=key("change", n), expire_date=year(2030 + n % 5_000))
            for n in numbers
        ),
    ]


def attached_codes(service: Running, names: Sequence[str]) -> int:
    """Make a program whose codes are all attached to one profile."""
    program = service.program(names)
    database = service.database()
    (profile,) = service.profiles(database, 1)
    with Gate(service) as gate:
        succeed(gate.release([attach(program, database, profile, name) for name in names]))
    return program


def make_programs(service: Running, wanted: Iterable[dict[str, Any]]) -> list[int]:
    async def work(administration: Administration) -> list[int]:
        programs = (LoyaltyProgram(id=0, name="Race", **settings) for settings in wanted)
        return [(await administration.create_program(program)).id for program in programs]

    return list(service.administer(work))


def year(number: int) -> str:
    return f"{number}-01-01T00:00:00Z"


def successes_by(answers: Iterable[Answer], field: str) -> dict[Any, int]:
    """Return how many requests succeeded for each value of one of their fields."""
    successes: dict[Any, int] = defaultdict(int)
    for answer in answers:
        successes[answer.request.fields[field]] += is_effective(answer)
    return dict(successes)


def is_effective(answer: Answer) -> bool:
    """Say whether a request got what it asked for; an import is answered item by item."""
    if answer.is_success and answer.request.name == IMPORT:
        return bool(answer.json["inserted"])
    return answer.is_success


def grouped(
    answers: Iterable[Answer], by: Callable[[Answer], str | None]
) -> Iterable[list[Answer]]:
    groups: dict[str | None, list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[by(answer)].append(answer)
    return groups.values()


def succeed(answers: Iterable[Answer]) -> None:
    for answer in answers:
        assert is_effective(answer), answer


def settle(
    service: Running, answers: Sequence[Answer], programs: Sequence[int], *refusals: str
) -> Ledger:
    """Hold the answers to the store, and whoever did not succeed to these refusals."""
    ledger = Ledger.read(service.url, *programs)
    ledger.check()
    ledger.check_answers(answers)
    others = Counter(
        (answer.status, answer.reason)
        for answer in answers
        if not answer.is_success
        and (answer.status, answer.reason) not in {(200, r) for r in refusals}
    )
    assert not others, others
    return ledger

"""The options by which commands choose codes, and what they mean in a program."""

from collections.abc import Callable
from typing import Any

import click

from promint.cli.output import ID
from promint.domain import identities
from promint.domain.model import CodeState, LoyaltyProgram, ProfileKey
from promint.service.searching import Search
from promint.store.searching import CodeFilter, Span
from promint.wire.rows.dates import LocalDates

Options = dict[str, Any]
"""The values of the options below, by name, as click hands them over."""

_PROFILE = (
    click.option("--db", "database_id", type=ID, help="Of a profile of this database (db_id) …"),
    click.option("--profile-id", help="… with this id,"),
    click.option("--email", help="this e-mail,"),
    click.option("--phone", help="this phone,"),
    click.option("--field", "custom_field", help="or NAME=VALUE of a custom field."),
)
_DATES = tuple(
    click.option(f"--{what}-{edge}", f"{what}_{edge}", metavar="DATE", help=sentence.format(what))
    for what in ("created", "attached", "activated", "expires")
    for edge, sentence in (
        ("from", "{} on this date or later."),
        ("until", "{} before the end of this date."),
    )
)
_CODES = (
    click.option("--code", "codes", multiple=True, help="This code; more than one."),
    click.option("--prefix", default="", help="Codes that begin so."),
    click.option(
        "--state",
        type=click.Choice([state.value for state in CodeState]),
        help="Codes in this state now.",
    ),
    click.option("--batch", "batch_id", type=ID, help="Codes that this batch made or changed."),
)


def _with(
    options: tuple[Callable[..., Any], ...],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def given(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return given


profile_options = _with(_PROFILE)
"""Gives a command the options that name a profile; `profile_of` reads them."""

filter_options = _with((*_CODES, *_PROFILE, *_DATES))
"""Gives a command the options that choose codes of a program; `filter_of` reads them."""


def profile_of(options: Options) -> ProfileKey | None:
    """Return the profile that the options name, None where they name none.

    Raises:
        UsageError: a database without a profile, a profile without a database, two profiles.
        BadValue: the e-mail, phone or custom field can be nobody's.
    """
    names = ("profile_id", "email", "phone", "custom_field")
    given = {name: options[name] for name in names if options.get(name)}
    database_id = options.get("database_id")
    if database_id is None and not given:
        return None
    if database_id is None or len(given) != 1:
        raise click.UsageError(
            "A profile is named by --db and one of --profile-id, --email, --phone, --field."
        )
    ((name, text),) = given.items()
    if name == "profile_id":
        return ProfileKey(database_id, profile_id=text.strip().lower())
    if name == "email":
        identity = identities.email_identity(database_id, text)
    elif name == "phone":
        identity = identities.phone_identity(database_id, text)
    else:
        field, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError("Write --field NAME=VALUE.")
        identity = identities.custom_identity(database_id, field.strip(), value, field)
    return ProfileKey(database_id, identities=(identity,))


async def filter_of(search: Search, program: LoyaltyProgram, options: Options) -> CodeFilter:
    """Return the filter that the options of `filter_options` mean in a program.

    Raises:
        UsageError, BadValue: an option cannot be read.
        ProfileNotFound, ProfileAmbiguous: the profile cannot be found.
    """
    dates = LocalDates(program.time_zone)

    def moment(what: str, edge: str, *, is_end: bool) -> int | None:
        text = options.get(f"{what}_{edge}")
        if text is None:
            return None
        name = f"--{what}-{edge}"
        found = dates.moment(text, name, to_the_end=is_end)
        # What is good through a day expires at the midnight after it, and belongs to that day.
        is_day = found != dates.moment(text, name, to_the_end=not is_end)
        return found + 1 if what == "expires" and is_day else found

    def span(what: str) -> Span:
        return Span(moment(what, "from", is_end=False), moment(what, "until", is_end=True))

    state = options.get("state")
    return await search.filter(
        program,
        codes=options.get("codes", ()),
        prefix=options.get("prefix", ""),
        state=None if state is None else CodeState(state),
        batch_id=options.get("batch_id"),
        profile=profile_of(options),
        created=span("created"),
        attached=span("attached"),
        activated=span("activated"),
        expires=span("expires"),
    )

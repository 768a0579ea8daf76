"""Which column of a table holds what: by its header, in English or Russian, or as people say."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from promint.domain.errors import BadValue
from promint.wire.rows.chunks import ReadOptions, refusal

CUSTOM = "custom:"
"""`custom:NAME` is the column of the profile's custom field NAME."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "code": (
        "codes",
        "promo code",
        "promo codes",
        "promocode",
        "promocodes",
        "coupon",
        "coupon code",
        "voucher",
        "voucher code",
        "код",
        "коды",
        "промокод",
        "промокоды",
        "промо код",
        "купон",
        "код купона",
    ),
    "expire_date": (
        "expires",
        "expires at",
        "expire",
        "expiry",
        "expiry date",
        "expiration",
        "expiration date",
        "expired",
        "valid until",
        "valid to",
        "истекает",
        "дата истечения",
        "срок действия",
        "действует до",
        "действителен до",
        "годен до",
    ),
    "attached": (
        "attached at",
        "attach date",
        "assigned",
        "assigned at",
        "привязан",
        "дата привязки",
        "выдан",
        "дата выдачи",
    ),
    "activated": (
        "activated at",
        "activation date",
        "redeemed",
        "redeemed at",
        "used at",
        "активирован",
        "дата активации",
        "использован",
        "дата использования",
    ),
    "database_id": ("db id", "db", "database", "база", "база данных", "id базы"),
    "profile_id": ("profile", "id профиля", "профиль"),
    "email": ("e mail", "mail", "почта", "эл почта", "электронная почта"),
    "phone": ("phone number", "mobile", "телефон", "номер телефона", "мобильный"),
    "field_name": (),
    "field_value": (),
}
"""Our names, and what else their columns are called; compared without case, `_`, `-` and `.`."""

_BETWEEN_WORDS = re.compile(r"[\s_\-.]+")


def _plain(header: str) -> str:
    return _BETWEEN_WORDS.sub(" ", header.strip().casefold()).strip()


_OURS = {_plain(ours): ours for ours in SYNONYMS}
_KNOWN = {_plain(text): ours for ours, texts in SYNONYMS.items() for text in texts}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row of `width` cells our names are, from 0. `headers` are what people see."""

    width: int
    places: dict[str, int]
    headers: tuple[str, ...]
    noun: str = "column"
    needs_code: bool = True

    @property
    def is_plain(self) -> bool:
        """Say whether the code is all that is read, and all that there is."""
        return self.width == 1 and list(self.places) == ["code"]

    def reason(self, what: str, ours: str) -> str:
        """Return what is wrong, with the column of a name of ours in front: `column 'Ends': …`.

        A table of one column needs no such place.
        """
        if self.is_plain:
            return what
        if ours not in self.places:
            return f"{ours}: {what}"
        place = self.places[ours]
        header = self.headers[place] or str(place + 1)
        return f"{self.noun} {header if header.isdecimal() else repr(header)}: {what}"

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Return our names with the headers of their columns."""
        return tuple((ours, self.headers[place]) for ours, place in self.places.items())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the headers of the columns that are not read."""
        used = set(self.places.values())
        return tuple(
            header for place, header in enumerate(self.headers) if place not in used and header
        )


def read_column_options(texts: Iterable[str]) -> dict[str, int | str]:
    """Return the columns that options such as `code=1` or `code=Coupon number` name.

    Raises:
        BadValue: one has no `=`, or a name comes twice.
    """
    columns: dict[str, int | str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        ours, theirs = ours.strip(), theirs.strip()
        if not (ours and equals and theirs):
            raise BadValue("not like code=1 or code=HEADER", f"column {text}")
        if ours in columns:
            raise BadValue("given twice", f"column {ours}")
        number = theirs.isascii() and theirs.isdigit() and len(theirs) < 6
        columns[ours] = int(theirs) if number else theirs
    return columns


class Naming:
    """What the columns of one program's files may be called.

    Raises:
        BadValue: an option names a field that does not exist.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._fields = {field.strip().casefold(): field for field in options.fields}
        for ours in options.columns:
            if ours not in SYNONYMS and ours not in options.fields and not ours.startswith(CUSTOM):
                names = ", ".join([*SYNONYMS, *options.fields, f"{CUSTOM}NAME"])
                raise BadValue(f"no such field; there are {names}", f"column {ours}")
        self._asked = {
            theirs.strip().casefold(): ours
            for ours, theirs in options.columns.items()
            if isinstance(theirs, str)
        }
        self._numbers = {
            number - 1: ours for ours, number in options.columns.items() if isinstance(number, int)
        }

    def name_of(self, header: str) -> tuple[str, int] | None:
        """Return our name for a header, and how sure that is: less is surer."""
        text = header.strip().casefold()
        if ours := self._asked.get(text):
            return ours, 0
        if field := self._fields.get(text):
            return field, 1
        if text.startswith(CUSTOM) and len(text) > len(CUSTOM):
            return CUSTOM + header.strip()[len(CUSTOM) :], 1
        plain = _plain(header)
        if ours := _OURS.get(plain):
            return ours, 1
        if ours := _KNOWN.get(plain):
            return ours, 2
        return None

    def known(self, cells: Sequence[str]) -> int:
        """Return how many of the cells are headers that we know."""
        return sum(self.name_of(cell) is not None for cell in cells)

    def layout(
        self, cells: Sequence[str], file: str, line: int, *, has_header: bool, only: int | None
    ) -> Layout:
        """Return the layout of a table whose first row has these cells.

        `only` is the one column that is not empty, if there is one: without header it is the code.

        Raises:
            BadValue: no column holds the code, one that an option names is not there, two
                could be the same.
        """
        headers = tuple(
            cell.strip() if has_header else str(number) for number, cell in enumerate(cells, 1)
        )
        found = dict(self._given(cells, file, line))
        if has_header:
            sure: dict[str, int] = dict.fromkeys(found, -1)
            for place, cell in enumerate(cells):
                named = self.name_of(cell)
                if named is None or place in self._numbers:
                    continue
                ours, doubt = named
                if ours in self._options.columns and doubt > 0:
                    continue
                if ours not in found or doubt < sure[ours]:
                    found[ours], sure[ours] = place, doubt
                elif doubt == sure[ours]:
                    raise refusal(
                        f"columns {found[ours] + 1} ({headers[found[ours]]!r}) and {place + 1} "
                        f"({headers[place]!r}) could both be {ours}; name one: --column "
                        f"{ours}=NUMBER",
                        file,
                        line,
                    )
            for theirs, ours in self._asked.items():
                if ours not in found:
                    raise refusal(f"no column is called {theirs!r}", file, line)
        elif self._asked:
            raise refusal(
                f"no column is called {next(iter(self._asked))!r}: the file has no header",
                file,
                line,
            )
        elif "code" not in found and only is not None:
            found["code"] = only
        if "code" not in found and self.needs_code:
            shown = ", ".join(repr(cell.strip()[:40]) for cell in cells[:8])
            more = f" and {len(cells) - 8:,} more" if len(cells) > 8 else ""
            raise refusal(
                f"no column holds the code: the first row is {shown}{more}; say which with "
                "--column code=NUMBER, or --format txt if each line is a code",
                file,
                line,
            )
        # The code comes first, the others as they stand: so they are shown.
        places = {"code": found["code"]} if "code" in found else {}
        places.update(sorted(found.items(), key=lambda item: item[1]))
        return Layout(len(cells), places, headers, needs_code=self.needs_code)

    def _given(self, cells: Sequence[str], file: str, line: int) -> Iterable[tuple[str, int]]:
        for place, ours in self._numbers.items():
            if not 0 <= place < len(cells):
                raise refusal(
                    f"there is no column {place + 1} for {ours}: the first row has {len(cells)}",
                    file,
                    line,
                )
            yield ours, place

    @property
    def needs_code(self) -> bool:
        """Say whether there has to be a column of codes."""
        return self._options.needs_code

    @property
    def is_told(self) -> bool:
        """Say whether options name columns by number, so that no header is needed."""
        return bool(self._numbers)

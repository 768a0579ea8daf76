"""Which codes a bench works on: a number leads to each, here and inside pgbench alike.

Consecutive numbers lie far apart in the order of codes, so taking them one after another
touches an index everywhere, as customers do, and still names each exactly once.
"""

CODE_CHARACTERS = 9
PROFILE_CHARACTERS = 24

MODULUS = 68_719_476_731
"""The largest prime under 16 ** 9."""

STEP = 42_470_972_311
"""About the golden part of the modulus, which spreads consecutive numbers most evenly."""

NUMBER_MAX = 200_000_000
"""The last number whose product with `STEP` fits 64 bits, rounded down."""


def code(number: int) -> str:
    """Return the code with this number, as it is given; different for each number from 1 on."""
    return f"{number * STEP % MODULUS:09X}"


def profile_id(number: int) -> str:
    """Return the id of the profile with this number, from 1 on."""
    return f"{number:024x}"

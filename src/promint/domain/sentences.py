"""Settings as people say them."""

from promint.domain.model import LoyaltyProgram

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def limits_sentence(program: LoyaltyProgram) -> str:
    """Return a program's limits as one sentence, without a full stop.

    Such as "each code 1 time; one profile at most 2 codes of this program; 500 codes in all".
    """
    uses = program.uses_per_code
    parts = ["each code " + ("any number of times" if uses is None else _counted(uses, "time"))]
    if program.multiple_usage:
        holders = program.attach_limit
        parts[0] += (
            ", for any number of profiles"
            if holders is None
            else f", for at most {_counted(holders, 'profile')}"
        )
    if program.profile_limit is not None:
        parts.append(
            f"one profile at most {_counted(program.profile_limit, 'code')} of this program"
        )
    if program.lifetime_s is not None:
        parts.append(f"{_lasting(program.lifetime_s)} from attaching on")
    if program.code_limit is not None:
        parts.append(f"{_counted(program.code_limit, 'code')} in all")
    return "; ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _lasting(seconds: int) -> str:
    """Return a duration in the largest unit that says it exactly."""
    for size, noun in _UNITS:
        if seconds % size == 0:
            return _counted(seconds // size, noun)
    raise AssertionError(seconds)

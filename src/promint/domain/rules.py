"""The verbs: what may happen to a promo code, and what it becomes. The only home of the rules.

Each function takes the code as it was read and returns it as it becomes, its `version` one
higher, or the very same value where nothing changes; a refusal is raised. Moments are UTC
microseconds. The order of the checks is the order of contract section 7.
"""

from promint.domain.errors import (
    ActivationLimitReached,
    AlreadyActivated,
    AlreadyAttached,
    AttachedToOther,
    AttachedToSeveral,
    AttachLimitReached,
    CodeExpired,
    CodeLimitReached,
    CodeNotFound,
    NotAttached,
    ProfileLimitReached,
    ProgramInactive,
    ProgramOutOfRange,
)
from promint.domain.model import MOMENT_MAX, ExpirySource, Holder, LoyaltyProgram, PromoCode

SECOND = 1_000_000
"""Microseconds in a second."""


def check_issuing(program: LoyaltyProgram, now: int) -> None:
    """Refuse to attach from a program that is switched off or outside its validity range.

    Raises:
        ProgramInactive: the program is not active.
        ProgramOutOfRange: `now` is before `issue_from`, or `issue_until` or later.
    """
    if not program.active:
        raise ProgramInactive(str(program.id))
    if program.issue_from is not None and now < program.issue_from:
        raise ProgramOutOfRange(str(program.id))
    if program.issue_until is not None and now >= program.issue_until:
        raise ProgramOutOfRange(str(program.id))


def create(
    program: LoyaltyProgram,
    shard_key: int,
    code_key: str,
    code: str,
    seq: int,
    now: int,
    batch_id: int | None = None,
) -> PromoCode:
    """Return a new code, with the program's default expiry."""
    has_default = program.default_expire_date is not None
    return PromoCode(
        shard_key,
        code_key,
        code,
        seq,
        created_at=now,
        expires_at=program.default_expire_date,
        expiry_source=ExpirySource.DEFAULT if has_default else ExpirySource.GIVEN,
        batch_id=batch_id,
        version=program.first_version,
    )


def check_creating(program: LoyaltyProgram) -> None:
    """Refuse to create a code on attach where the program does not.

    Raises:
        CodeNotFound: the program has `creates_on_attach` off.
    """
    if not program.creates_on_attach:
        raise CodeNotFound(str(program.id))


def check_code_limit(program: LoyaltyProgram, codes: int) -> None:
    """Refuse one code more than the program, which holds `codes` now, may hold.

    Raises:
        CodeLimitReached: there is no room for another.
    """
    if program.code_limit is not None and codes >= program.code_limit:
        raise CodeLimitReached(str(program.id))


def check_profile_limit(program: LoyaltyProgram, held: int) -> None:
    """Refuse one code more than the profile, which holds `held` of the program, may hold.

    Raises:
        ProfileLimitReached: used and expired ones count too.
    """
    if program.profile_limit is not None and held >= program.profile_limit:
        raise ProfileLimitReached(str(program.id))


def attach(
    program: LoyaltyProgram,
    code: PromoCode,
    holder: Holder,
    now: int,
    *,
    holds_it: bool = False,
    held: int = 0,
) -> PromoCode:
    """Return `code` as it is once attached to `holder`.

    `holds_it` says whether this profile holds this code already, which for a universal code
    is success without a change; `held` is how many codes of the program it holds.

    Raises:
        CodeExpired: its expiry has passed.
        AlreadyAttached: it is personal and attached, whoever holds it.
        AttachLimitReached: it is universal and as many profiles hold it as may.
        ProfileLimitReached: the profile holds as many codes of the program as it may.
    """
    if code.is_expired(now):
        raise CodeExpired(code.code)
    if program.multiple_usage:
        if holds_it:
            return code
    elif code.attach_count:
        raise AlreadyAttached(code.code)
    if program.attach_limit is not None and code.attach_count >= program.attach_limit:
        raise AttachLimitReached(code.code)
    check_profile_limit(program, held)

    expires_at, source = _expiry_once_attached(program, code, now)
    return code._replace(
        expires_at=expires_at,
        expiry_source=source,
        attached_at=now,
        attach_count=code.attach_count + 1,
        database_id=holder.database_id,
        profile_id=holder.profile_id,
        version=code.version + 1,
    )


def _expiry_once_attached(
    program: LoyaltyProgram, code: PromoCode, now: int
) -> tuple[int | None, int]:
    """A lifetime starts at the first attach. Against the default date the earlier wins."""
    if program.lifetime_s is None:
        return code.expires_at, code.expiry_source
    lifetime_end = min(now + program.lifetime_s * SECOND, MOMENT_MAX)
    if code.expires_at is None:
        return lifetime_end, ExpirySource.LIFETIME
    if code.expiry_source == ExpirySource.DEFAULT and lifetime_end < code.expires_at:
        return lifetime_end, ExpirySource.LIFETIME_OVER_DEFAULT
    return code.expires_at, code.expiry_source


def has_room(program: LoyaltyProgram, code: PromoCode, now: int) -> bool:
    """Say whether a universal code can be handed to one more profile without being named."""
    uses = program.uses_per_code
    return (
        not code.is_expired(now)
        and (uses is None or code.activation_count < uses)
        and (program.attach_limit is None or code.attach_count < program.attach_limit)
    )


def activate(program: LoyaltyProgram, code: PromoCode, now: int) -> PromoCode:
    """Return `code` as it is once used.

    Raises:
        NotAttached: nobody holds it.
        CodeExpired: its expiry has passed.
        AlreadyActivated: its one use is spent.
        ActivationLimitReached: its several uses are spent.
    """
    _check_activating(program, code, expired=code.is_expired(now))
    return code._replace(
        activated_at=now,
        activation_count=code.activation_count + 1,
        version=code.version + 1,
    )


def _check_activating(program: LoyaltyProgram, code: PromoCode, *, expired: bool) -> None:
    if not code.attach_count:
        raise NotAttached(code.code)
    if expired:
        raise CodeExpired(code.code)
    uses = program.uses_per_code
    if uses is not None and code.activation_count >= uses:
        raise AlreadyActivated(code.code) if uses == 1 else ActivationLimitReached(code.code)


def update(
    program: LoyaltyProgram,
    code: PromoCode,
    now: int,
    *,
    activated: bool | None = None,
    changes_expiry: bool = False,
    expires_at: int | None = None,
    earlier_use_at: int | None = None,
) -> PromoCode:
    """Return `code` with another expiry, activated or not, in one change.

    `activated` None leaves the uses alone, True adds one only if the code is not activated,
    False takes the latest back; `earlier_use_at` is the date of the use before that.
    `expires_at` counts where `changes_expiry` is set; None removes the expiry.

    Raises:
        NotAttached: it shall be activated and nobody holds it.
        CodeExpired: it shall be activated and is expired under the old and the new date.
        AlreadyActivated, ActivationLimitReached: its uses are spent.
    """
    changed = code
    if changes_expiry:
        changed = changed._replace(expires_at=expires_at, expiry_source=ExpirySource.GIVEN)
    if activated is True and not code.activation_count:
        expired = code.is_expired(now) and changed.is_expired(now)
        _check_activating(program, code, expired=expired)
        changed = changed._replace(activated_at=now, activation_count=code.activation_count + 1)
    elif activated is False and code.activation_count:
        left = code.activation_count - 1
        changed = changed._replace(
            activated_at=earlier_use_at if left else None, activation_count=left
        )
    return code if changed == code else changed._replace(version=code.version + 1)


def detach(program: LoyaltyProgram, code: PromoCode, holder: Holder) -> PromoCode:
    """Return `code` as it is once free again.

    Raises:
        NotAttached: nobody holds it.
        AttachedToSeveral: more than one profile holds it.
        AttachedToOther: somebody else holds it.
        AlreadyActivated: it is used, and the holder stays on record.
    """
    if not code.attach_count:
        raise NotAttached(code.code)
    if code.attach_count > 1:
        raise AttachedToSeveral(code.code)
    if (code.database_id, code.profile_id) != holder:
        raise AttachedToOther(code.code)
    if code.activation_count:
        raise AlreadyActivated(code.code)
    return freed(program, code)


def freed(program: LoyaltyProgram, code: PromoCode) -> PromoCode:
    """Return `code` without its only holder; an expiry that attaching had set goes too."""
    expires_at, source = code.expires_at, code.expiry_source
    if source == ExpirySource.LIFETIME:
        expires_at, source = None, ExpirySource.GIVEN
    elif source == ExpirySource.LIFETIME_OVER_DEFAULT:
        expires_at, source = program.default_expire_date, ExpirySource.DEFAULT
    return code._replace(
        expires_at=expires_at,
        expiry_source=source,
        attached_at=None,
        attach_count=0,
        database_id=None,
        profile_id=None,
        version=code.version + 1,
    )


def released(code: PromoCode, latest: Holder, attached_at: int) -> PromoCode:
    """Return a universal `code` without one of its holders; `latest` is the last of the others."""
    return code._replace(
        attached_at=attached_at,
        attach_count=code.attach_count - 1,
        database_id=latest.database_id,
        profile_id=latest.profile_id,
        version=code.version + 1,
    )


def check_deleting(code: PromoCode) -> None:
    """Refuse to delete a code that somebody holds, or used.

    Raises:
        AlreadyAttached: it is attached; what is activated is attached too.
    """
    if code.attach_count:
        raise AlreadyAttached(code.code)


def restored(before: PromoCode, code: PromoCode) -> PromoCode:
    """Return `code` with the state it had `before`, as a version of its own."""
    return before._replace(version=code.version + 1)

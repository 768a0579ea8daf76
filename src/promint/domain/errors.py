"""Every way a request can fail, as one tree. Numbers and reasons are public and never reused.

::

    PromintError
    ├── BadRequest              change the request
    │   ├── Malformed               400 malformed
    │   ├── MissingField            400 missing_field
    │   ├── BadValue                400 bad_value
    │   │   └── BadFile             400 bad_file
    │   ├── UnknownMethod           404 unknown_method
    │   ├── UsePost                 405 use_post
    │   ├── MethodNotAllowed        405 method_not_allowed
    │   ├── TooLarge                413 too_large
    │   ├── UnsupportedFormat       415 unsupported_format
    │   ├── UseJson                 415 use_json
    │   └── IdempotencyMismatch     422 idempotency_mismatch
    ├── Denied                  use another token
    │   ├── TokenRequired           401 token_required
    │   ├── TokenInvalid            401 token_invalid
    │   └── AccessDenied            403 denied
    ├── NotFound                name something that exists
    │   ├── ProgramNotFound         404 program_not_found
    │   ├── CodeNotFound            404 code_not_found
    │   ├── DatabaseNotFound        404 database_not_found
    │   ├── ProfileNotFound         404 profile_not_found
    │   ├── BatchNotFound           404 batch_not_found
    │   ├── JobNotFound             404 job_not_found
    │   └── TokenNotFound           404 token_not_found
    ├── Refused                 accept the answer; nothing changed
    │   ├── CodeLimitReached        402 code_limit
    │   ├── ProfileLimitReached     402 profile_limit
    │   ├── AttachLimitReached      402 attach_limit
    │   ├── ActivationLimitReached  402 activation_limit
    │   ├── AlreadyAttached         409 already_attached
    │   ├── NotAttached             409 not_attached
    │   ├── AttachedToOther         409 attached_to_other
    │   ├── AttachedToSeveral       409 attached_to_several
    │   ├── AlreadyActivated        409 already_activated
    │   ├── NoFreeCode              409 none_free
    │   ├── ProfileAmbiguous        409 profile_ambiguous
    │   ├── Duplicate               409 duplicate
    │   ├── AlreadyUndone           409 already_undone
    │   ├── BatchForgotten          409 batch_forgotten
    │   ├── CodeExpired             410 expired
    │   ├── ProgramInactive         423 program_inactive
    │   └── ProgramOutOfRange       423 program_out_of_range
    └── Unavailable             send the same again later
        ├── Throttled               429 throttled
        ├── InternalError           500 internal
        ├── StoreBusy               503 unavailable
        └── OutcomeUnknown          503 outcome_unknown
"""

from collections.abc import Iterator


class PromintError(Exception):
    """A request that did not succeed; `number`, `reason` and `text` are what the caller sees.

    `detail` (the constructor's argument) is for logs and tests. It never holds a secret
    and reaches the caller only where `message` says so.
    """

    number: int = 0
    reason: str = ""
    text: str = ""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def message(self) -> str:
        """The sentence that the caller reads as `error_text`."""
        return self.text


class BadRequest(PromintError):
    """The request itself is wrong and would fail again."""


class IncorrectRequest(BadRequest):
    """A 400: the message says what is wrong and where."""

    number = 400
    text = "Incorrect request"

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what}, {where}")
        self.what = what
        self.where = where

    @property
    def message(self) -> str:
        """`Incorrect request: WHAT, WHERE`."""
        return f"{self.text}: {self.detail}"


class Malformed(IncorrectRequest):
    """The bytes are not one JSON or XML document of the expected form."""

    reason = "malformed"


class MissingField(IncorrectRequest):
    """A field that the call needs is absent."""

    reason = "missing_field"

    def __init__(self, field: str) -> None:
        super().__init__("missing field", field)


class BadValue(IncorrectRequest):
    """A field holds something that it cannot hold."""

    reason = "bad_value"


class BadFile(BadValue):
    """A file of rows cannot be read. The message names the place first: `FILE, line 2: …`."""

    reason = "bad_file"
    text = "The file cannot be read"

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where)
        self.detail = f"{where}: {what}"


class UnknownMethod(BadRequest):
    """No call has this path."""

    number, reason, text = 404, "unknown_method", "Unknown method"


class UsePost(BadRequest):
    """The call exists, but only for POST."""

    number, reason, text = 405, "use_post", "Use POST"


class MethodNotAllowed(BadRequest):
    """The path of the management API exists, but not for this HTTP method."""

    number, reason, text = 405, "method_not_allowed", "This path does not take this method"


class TooLarge(BadRequest):
    """The body, or the list in it, is over its bound."""

    number, reason, text = 413, "too_large", "Request is too large"


class UnsupportedFormat(BadRequest):
    """The body is neither JSON nor XML in UTF-8."""

    number, reason, text = 415, "unsupported_format", "Use JSON or XML in UTF-8"


class UseJson(BadRequest):
    """The management API takes JSON only."""

    number, reason, text = 415, "use_json", "Use JSON in UTF-8"


class IdempotencyMismatch(BadRequest):
    """The key belongs to another request of the same token."""

    number, reason = 422, "idempotency_mismatch"
    text = "This idempotency key was used for another request"


class Denied(PromintError):
    """The token does not allow this."""


class TokenRequired(Denied):
    """No token came with the request."""

    number, reason, text = 401, "token_required", "API token required"


class TokenInvalid(Denied):
    """The token is unknown or revoked."""

    number, reason, text = 401, "token_invalid", "API token is not valid"


class AccessDenied(Denied):
    """The token lacks the scope of this call."""

    number, reason, text = 403, "denied", "No access rights"


class NotFound(PromintError):
    """Something that the request names does not exist, for this token."""

    number = 404


class ProgramNotFound(NotFound):
    """No such loyalty program, or not for this token."""

    reason, text = "program_not_found", "Loyalty program not found"


class CodeNotFound(NotFound):
    """The program holds no such promo code."""

    reason, text = "code_not_found", "Promo code not found"


class DatabaseNotFound(NotFound):
    """No such database, or not for this token."""

    reason, text = "database_not_found", "Database not found"


class ProfileNotFound(NotFound):
    """The matching leads to no profile."""

    reason, text = "profile_not_found", "Profile not found"


class BatchNotFound(NotFound):
    """No such batch, or not in this program."""

    reason, text = "batch_not_found", "Batch not found"


class JobNotFound(NotFound):
    """No such job, or not for this token."""

    reason, text = "job_not_found", "Job not found"


class TokenNotFound(NotFound):
    """No such living token, or not for this token."""

    reason, text = "token_not_found", "Token not found"


class Refused(PromintError):
    """A rule says no. Nothing has changed."""


class LimitReached(Refused):
    """A limit of the program is used up; `reason` is the limit's name."""

    number = 402

    @property
    def message(self) -> str:
        """`Limit reached: WHICH`."""
        return f"Limit reached: {self.reason}"


class CodeLimitReached(LimitReached):
    """The program holds as many codes as it may."""

    reason = "code_limit"


class ProfileLimitReached(LimitReached):
    """The profile holds as many codes of the program as it may."""

    reason = "profile_limit"


class AttachLimitReached(LimitReached):
    """The universal code is attached to as many profiles as it may be."""

    reason = "attach_limit"


class ActivationLimitReached(LimitReached):
    """The code was activated as often as it may be."""

    reason = "activation_limit"


class Conflict(Refused):
    """The state of the code or profile does not allow this."""

    number = 409


class AlreadyAttached(Conflict):
    """A personal code has a holder already."""

    reason, text = "already_attached", "Promo code is already attached"


class NotAttached(Conflict):
    """The code is attached to nobody."""

    reason, text = "not_attached", "Promo code is not attached"


class AttachedToOther(Conflict):
    """The code is attached, but not to this profile."""

    reason, text = "attached_to_other", "Promo code is attached to another profile"


class AttachedToSeveral(Conflict):
    """A code that several profiles hold cannot be detached."""

    reason, text = "attached_to_several", "Promo code is attached to several profiles"


class AlreadyActivated(Conflict):
    """The only use of the code is spent."""

    reason, text = "already_activated", "Promo code is already activated"


class NoFreeCode(Conflict):
    """The program has no code left to attach."""

    reason, text = "none_free", "Loyalty program has no free promo code"


class ProfileAmbiguous(Conflict):
    """The matching leads to more than one profile."""

    reason, text = "profile_ambiguous", "More than one profile matches"


class Duplicate(Conflict):
    """It exists already: a code in its program, an e-mail or phone in its database."""

    reason, text = "duplicate", "It exists already"


class AlreadyUndone(Conflict):
    """The batch was taken back before."""

    reason, text = "already_undone", "Batch is already taken back"


class BatchForgotten(Conflict):
    """The batch ended too long ago: what it changed is not kept any more."""

    reason, text = "batch_forgotten", "Batch is too old to be taken back"


class CodeExpired(Refused):
    """The code's expiry has passed."""

    number, reason, text = 410, "expired", "Promo code has expired"


class ProgramInactive(Refused):
    """The program is switched off, so nothing is attached from it."""

    number, reason, text = 423, "program_inactive", "Loyalty program is not active"


class ProgramOutOfRange(Refused):
    """The program's validity range does not include this moment."""

    number, reason = 423, "program_out_of_range"
    text = "Loyalty program is outside its validity range"


class Unavailable(PromintError):
    """Not now. The same request may succeed later."""


class Throttled(Unavailable):
    """Too many wrong codes came from here. `retry_after_s`: when one more may be tried."""

    number, reason, text = 429, "throttled", "Too many requests"

    def __init__(self, detail: str = "", retry_after_s: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class InternalError(Unavailable):
    """Our mistake. The request id finds it in the log."""

    number, reason, text = 500, "internal", "Internal error"


class StoreBusy(Unavailable):
    """The store cannot take the request now; nothing has changed."""

    number, reason, text = 503, "unavailable", "Try again"


class OutcomeUnknown(Unavailable):
    """The connection broke during COMMIT and the store cannot be asked what became of it."""

    number, reason, text = 503, "outcome_unknown", "Try again"


def public_errors() -> Iterator[type[PromintError]]:
    """Yield every class that a caller can meet: those with a number and a reason."""

    def walk(branch: type[PromintError]) -> Iterator[type[PromintError]]:
        for child in branch.__subclasses__():
            if child.number and child.reason:
                yield child
            yield from walk(child)

    return walk(PromintError)

"""The public errors: every number, reason and sentence, of both APIs."""

import pytest

from promint.domain.errors import (
    BadFile,
    BadValue,
    LimitReached,
    Malformed,
    MissingField,
    PromintError,
    public_errors,
)

REASONS = {
    400: {"malformed", "missing_field", "bad_value", "bad_file"},
    401: {"token_required", "token_invalid"},
    402: {"code_limit", "profile_limit", "attach_limit", "activation_limit"},
    403: {"denied"},
    404: {
        "program_not_found", "code_not_found", "database_not_found", "profile_not_found",
        "batch_not_found", "job_not_found", "token_not_found", "unknown_method",
    },
    405: {"use_post", "method_not_allowed"},
    409: {
        "already_attached", "not_attached", "attached_to_other", "attached_to_several",
        "already_activated", "none_free", "profile_ambiguous", "duplicate", "already_undone",
        "batch_forgotten",
    },
    410: {"expired"},
    413: {"too_large"},
    415: {"unsupported_format", "use_json"},
    422: {"idempotency_mismatch"},
    423: {"program_inactive", "program_out_of_range"},
    429: {"throttled"},
    500: {"internal"},
    503: {"unavailable", "outcome_unknown"},
}  # fmt: skip
SENTENCES = {
    "token_required": "API token required",
    "token_invalid": "API token is not valid",
    "denied": "No access rights",
    "program_not_found": "Loyalty program not found",
    "code_not_found": "Promo code not found",
    "database_not_found": "Database not found",
    "profile_not_found": "Profile not found",
    "batch_not_found": "Batch not found",
    "job_not_found": "Job not found",
    "token_not_found": "Token not found",
    "unknown_method": "Unknown method",
    "method_not_allowed": "This path does not take this method",
    "use_post": "Use POST",
    "expired": "Promo code has expired",
    "too_large": "Request is too large",
    "unsupported_format": "Use JSON or XML in UTF-8",
    "use_json": "Use JSON in UTF-8",
    "idempotency_mismatch": "This idempotency key was used for another request",
    "program_inactive": "Loyalty program is not active",
    "program_out_of_range": "Loyalty program is outside its validity range",
    "throttled": "Too many requests",
    "internal": "Internal error",
    "unavailable": "Try again",
    "outcome_unknown": "Try again",
}


def test_numbers_and_reasons_never_change() -> None:
    found: dict[int, set[str]] = {}
    for error in public_errors():
        found.setdefault(error.number, set()).add(error.reason)

    assert found == REASONS


def test_a_reason_belongs_to_one_error() -> None:
    reasons = [error.reason for error in public_errors()]

    assert len(reasons) == len(set(reasons))


@pytest.mark.parametrize("error", list(public_errors()), ids=lambda error: str(error.reason))
def test_every_error_has_its_sentence(error: type[PromintError]) -> None:
    if issubclass(error, LimitReached):
        assert error().message == f"Limit reached: {error.reason}"
    elif error.number == 400:
        text = "The file cannot be read" if error is BadFile else "Incorrect request"
        assert error.text == text
    else:
        assert error().message == SENTENCES.get(error.reason, error.text)
        assert error().message[0].isupper()


def test_a_400_says_what_is_wrong_and_where() -> None:
    assert Malformed("not UTF-8", "body").message == "Incorrect request: not UTF-8, body"
    assert BadValue("empty", "code").message == "Incorrect request: empty, code"
    assert BadFile("empty", "a.csv").message == "The file cannot be read: a.csv: empty"
    assert MissingField("code").message == "Incorrect request: missing field, code"

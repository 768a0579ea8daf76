"""Limits as people say them."""

from typing import Any

import pytest

from promint.domain.sentences import limits_sentence
from tests.domain.builders import make_program


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "each code 1 time"),
        ({"activation_limit": 3}, "each code 3 times"),
        ({"attach_limit": 5}, "each code 1 time"),
        ({"multiple_usage": True}, "each code any number of times, for any number of profiles"),
        (
            {"multiple_usage": True, "activation_limit": 1, "attach_limit": 1},
            "each code 1 time, for at most 1 profile",
        ),
        (
            {"multiple_usage": True, "activation_limit": 10_000, "attach_limit": 2_500},
            "each code 10,000 times, for at most 2,500 profiles",
        ),
        ({"profile_limit": 1}, "each code 1 time; one profile at most 1 code of this program"),
        ({"code_limit": 1}, "each code 1 time; 1 code in all"),
        ({"lifetime_s": 1}, "each code 1 time; 1 second from attaching on"),
        ({"lifetime_s": 90 * 60}, "each code 1 time; 90 minutes from attaching on"),
        ({"lifetime_s": 36 * 3600}, "each code 1 time; 36 hours from attaching on"),
        ({"lifetime_s": 30 * 86400}, "each code 1 time; 30 days from attaching on"),
        (
            {"profile_limit": 2, "code_limit": 500},
            "each code 1 time; one profile at most 2 codes of this program; 500 codes in all",
        ),
        (
            {"multiple_usage": True, "profile_limit": 2, "code_limit": 5, "lifetime_s": 86400},
            (
                "each code any number of times, for any number of profiles; one profile at most "
                "2 codes of this program; 1 day from attaching on; 5 codes in all"
            ),
        ),
    ],
    ids=str,
)
def test_limits_are_said_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    assert limits_sentence(make_program(**settings)) == sentence

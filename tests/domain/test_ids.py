"""Ids: 12 bytes, unique, rising with time."""

from promint.domain.ids import IdMaker
from tests.world import NOON, SECOND


def test_an_id_is_seconds_then_the_process_then_a_counter() -> None:
    ids = IdMaker(b"\x01\x02\x03\x04\x05\x00\x00\x07")

    assert ids.new(NOON).hex() == f"{NOON // SECOND:08x}" + "0102030405" + "000008"
    assert ids.new(NOON).hex().endswith("000009")


def test_an_id_in_hex_is_as_long_as_a_profile_id() -> None:
    assert len(IdMaker(bytes(8)).new(NOON).hex()) == 24


def test_a_million_ids_of_one_second_differ() -> None:
    ids = IdMaker(b"\xff" * 8)

    assert len({ids.new(NOON) for _ in range(1_000_000)}) == 1_000_000


def test_ids_rise_with_time_whatever_the_counter_does() -> None:
    ids = IdMaker(b"\xff" * 8)

    first, second = ids.new(NOON), ids.new(NOON + SECOND)

    assert first < second


def test_two_processes_make_different_ids() -> None:
    assert IdMaker(b"\x00" * 8).new(NOON) != IdMaker(b"\x01" + b"\x00" * 7).new(NOON)

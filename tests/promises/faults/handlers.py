"""Builds that have one error handler less."""

from typing import Any


def misfits_unhandled() -> None:
    """Let what the library says of a value that does not fit go through the management API."""
    import msgspec

    from promint.wire.manage import reading

    def read(values: Any, shape: Any, *, is_text: bool = False) -> Any:
        return msgspec.convert(values, shape, strict=not is_text)

    assert hasattr(reading, "read")
    reading.read = read


def broken_json_unhandled() -> None:
    """Let what the decoder says of a body that is no JSON go through the vendor's API."""
    import msgspec

    from promint.wire import codecs

    read = codecs.read_json

    def read_json(body: bytes) -> dict[str, Any]:
        msgspec.json.decode(body)
        return read(body)

    codecs.read_json = read_json

"""A build whose XML is let in without one of the checks that JSON passes."""

from typing import Any

from tests.races.planted import _patch


def xml_codes_unchecked() -> None:
    """Take a code of XML as it stands."""
    from promint.wire.shapes import Fields

    code = Fields.code

    def unchecked(self: Fields, name: str = "code") -> Any:
        return self.text(name) if self.is_xml else code(self, name)

    _patch(Fields, code=unchecked)

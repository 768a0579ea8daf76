"""Where a request comes from: the address that a trusted proxy vouches for, as a network.

Any caller can write any address into a header. So a header is read only where the connection
comes from a proxy that the operator trusts, and from its right end: every proxy adds the address
that it saw, and the first one that is no trusted proxy's is the caller's.
"""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

X_FORWARDED_FOR, FORWARDED = b"x-forwarded-for", b"forwarded"

Address = IPv4Address | IPv6Address


class ClientNetworks:
    """Tells the network of each request's caller: /24 of an IPv4 address, /64 of an IPv6 one."""

    def __init__(self, trusted_proxies: str, header: str) -> None:
        """Take the trusted addresses and networks, comma-separated, and which header they write.

        Raises:
            ValueError: one of them is none, or the header is of no proxy that we know.
        """
        named = [part.strip() for part in trusted_proxies.split(",")]
        self._trusted = tuple(ip_network(part, strict=False) for part in named if part)
        self._header = header.strip().lower().encode("ascii", "replace")
        if self._header not in (X_FORWARDED_FOR, FORWARDED):
            raise ValueError(f"{header!r} is neither X-Forwarded-For nor Forwarded")

    def of(self, scope: dict[str, Any]) -> str:
        """Return the network that a request comes from, as text."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._trusted:
            return network_of(peer)
        seen = address_of(peer)
        if seen is None or not self._is_trusted(seen):
            return network_of(peer)
        for hop in reversed(list(self._hops(scope))):
            address = address_of(hop)
            if address is None:
                # "unknown", an obfuscated name, rubbish: whoever wrote it is where we stop.
                break
            seen = address
            if not self._is_trusted(seen):
                break
        return network_of(str(seen))

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _hops(self, scope: dict[str, Any]) -> Iterator[str]:
        for name, value in scope["headers"]:
            if name == self._header:
                for hop in value.decode("latin-1").split(","):
                    yield _for_of(hop) if self._header == FORWARDED else hop.strip()


def _for_of(hop: str) -> str:
    """Return the address of one element of Forwarded (RFC 7239, section 4)."""
    for pair in hop.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""


@lru_cache(4096)
def address_of(text: str) -> Address | None:
    """Return an address, written with a port or without; IPv4 inside IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(4096)
def network_of(text: str) -> str:
    """Return the network of an address; what is none, a local socket, is one of its own."""
    address = address_of(text)
    if address is None:
        return "local"
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(ip_network((address, 24), strict=False))

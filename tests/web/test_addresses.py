"""Where a request comes from, and who is believed about it."""

import pytest

from promint.web.addresses import ClientNetworks

PROXY = "10.0.0.7"


def networks(
    trusted: str = f"{PROXY}, 10.1.0.0/16", header: str = "X-Forwarded-For"
) -> ClientNetworks:
    return ClientNetworks(trusted, header)


def seen(
    known: ClientNetworks, peer: str | None, *headers: str, name: str = "x-forwarded-for"
) -> str:
    return known.of(
        {
            "client": (peer, 1234) if peer is not None else None,
            "headers": [(name.encode(), header.encode("latin-1")) for header in headers],
        }
    )


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "local"),
    ],
)
def test_a_caller_is_its_network(peer: str | None, network: str) -> None:
    assert seen(networks(""), peer) == network


def test_a_header_of_a_caller_that_is_no_proxy_is_not_believed() -> None:
    assert seen(networks(), "203.0.113.9", "198.51.100.1") == "203.0.113.0/24"
    assert seen(networks(""), PROXY, "198.51.100.1") == "10.0.0.0/24"


@pytest.mark.parametrize(
    ("headers", "network"),
    [
        (["198.51.100.1"], "198.51.100.0/24"),
        (["1.1.1.1, 198.51.100.1"], "198.51.100.0/24"),
        (["1.1.1.1", "198.51.100.1"], "198.51.100.0/24"),
        (["198.51.100.1", "10.1.2.3"], "198.51.100.0/24"),
        (["198.51.100.1,10.1.2.3 , 10.0.0.7"], "198.51.100.0/24"),
        (["10.1.2.3, 10.1.9.9"], "10.1.2.0/24"),
        (["198.51.100.1:5555"], "198.51.100.0/24"),
        (["[2001:db8::1]:5555"], "2001:db8::/64"),
        (["2001:db8::1"], "2001:db8::/64"),
        (["198.51.100.1, unknown"], "10.0.0.0/24"),
        (["198.51.100.1, unknown, 10.1.2.3"], "10.1.2.0/24"),
        (["198.51.100.1, 999.1.1.1"], "10.0.0.0/24"),
        (["198.51.100.1, "], "10.0.0.0/24"),
        ([], "10.0.0.0/24"),
    ],
)
def test_the_first_hop_from_the_right_that_is_no_proxy_is_the_caller(
    headers: list[str], network: str
) -> None:
    assert seen(networks(), PROXY, *headers) == network


@pytest.mark.parametrize(
    ("header", "network"),
    [
        ("for=198.51.100.1", "198.51.100.0/24"),
        ('for="198.51.100.1:80";proto=https;by=10.0.0.7', "198.51.100.0/24"),
        ('proto=https;For="[2001:db8::1]:4711"', "2001:db8::/64"),
        ("for=1.1.1.1, for=198.51.100.1, for=10.1.2.3", "198.51.100.0/24"),
        ("for=198.51.100.1, for=_hidden", "10.0.0.0/24"),
        ("for=198.51.100.1, proto=https", "10.0.0.0/24"),
    ],
)
def test_the_header_of_rfc_7239_is_read_as_well(header: str, network: str) -> None:
    assert seen(networks(header="Forwarded"), PROXY, header, name="forwarded") == network


def test_only_the_header_that_the_proxy_writes_is_read() -> None:
    assert seen(networks(), PROXY, "for=198.51.100.1", name="forwarded") == "10.0.0.0/24"
    assert (
        seen(networks(header="forwarded"), PROXY, "198.51.100.1", name="x-forwarded-for")
        == "10.0.0.0/24"
    )


@pytest.mark.parametrize(
    ("trusted", "header"),
    [("10.0.0", "X-Forwarded-For"), ("proxy.local", "X-Forwarded-For"), ("10.0.0.1", "X-Real-IP")],
)
def test_a_setting_that_says_nothing_is_refused(trusted: str, header: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|10\.0\.0|X-Real-IP"):
        ClientNetworks(trusted, header)

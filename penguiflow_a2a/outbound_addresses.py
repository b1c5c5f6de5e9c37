"""IP addresses, and why some of them are no place for somebody else's word to lead. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def parse_host(host: str) -> IPAddress | None:
    """The address that a host is, in its one usual form; None for a name.

    An IPv6 address with a zone (`fe80::1%eth0`) is no address here.
    """
    if "%" in host:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def objection_to(address: IPAddress) -> str | None:
    """Why an address is not public; None when it is.

    An IPv6 address that carries an IPv4 address (mapped, compatible, 6to4, Teredo, NAT64, ISATAP)
    leads to it on some networks, so both have to be public.
    """
    for each in (address, *_carried(address)):
        problem = _objection(each)
        if problem is not None:
            return problem
    return None


def _objection(address: IPAddress) -> str | None:
    kinds = (
        ("the unspecified address", address.is_unspecified),
        ("this machine", address.is_loopback),
        ("a link-local address", address.is_link_local),
        ("a multicast address", address.is_multicast),
        ("a private or reserved address", not address.is_global or address.is_reserved),
        ("a site-local address", getattr(address, "is_site_local", False)),
    )
    return next((what for what, is_it in kinds if is_it), None)


def _carried(address: IPAddress) -> list[ipaddress.IPv4Address]:
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    found = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address.teredo is not None:
        found.extend(address.teredo)
    if any(address in network for network in (*_NAT64, _COMPATIBLE)):
        found.append(low)
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(low)
    return found


__all__ = ["IPAddress", "objection_to", "parse_host"]

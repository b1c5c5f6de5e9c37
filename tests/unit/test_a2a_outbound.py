"""Attacks on whoever connects on somebody else's word: none gets through."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penguiflow_a2a import OutboundPolicy, OutboundRefused
from penguiflow_a2a.outbound import check_secret
from penguiflow_a2a.outbound_addresses import objection_to
from penguiflow_a2a.outbound_grpc import grpc_channel
from penguiflow_a2a.outbound_http import fetch_json, http_client

PUBLIC = "93.184.216.34"


def _names(**addresses: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver: names with `_` for `.`, and their addresses."""
    known = {name.replace("_", "."): found for name, found in addresses.items()}

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError(host)
        return known[host]

    return resolve


POLICY = OutboundPolicy(resolve=_names(good_example=[PUBLIC], other_example=[PUBLIC]))

ATTACKS = {
    "plain http": "http://good.example/hook",
    "another scheme": "file:///etc/passwd",
    "gopher": "gopher://good.example:443/x",
    "user info": "https://good.example@evil.example/hook",
    "user and password": "https://user:secret@good.example/hook",
    "this machine": "https://127.0.0.1/hook",
    "this machine, elsewhere in 127/8": "https://127.8.8.8/hook",
    "this machine by IPv6": "https://[::1]/hook",
    "unspecified": "https://0.0.0.0/hook",
    "unspecified by IPv6": "https://[::]/hook",
    "private 10": "https://10.0.0.1/hook",
    "private 172": "https://172.16.9.9/hook",
    "private 192": "https://192.168.1.1/hook",
    "carrier-grade NAT": "https://100.64.0.1/hook",
    "metadata service": "https://169.254.169.254/latest/meta-data/",
    "metadata service by IPv6": "https://[fd00:ec2::254]/latest/meta-data/",
    "link-local by IPv6": "https://[fe80::1]/hook",
    "link-local with a zone": "https://[fe80::1%25eth0]/hook",
    "mapped": "https://[::ffff:127.0.0.1]/hook",
    "mapped, in hex": "https://[::ffff:7f00:1]/hook",
    "compatible": "https://[::127.0.0.1]/hook",
    "6to4 of a private address": "https://[2002:0a00:0001::]/hook",
    "6to4 of the metadata service": "https://[2002:a9fe:a9fe::1]/hook",
    "Teredo": "https://[2001:0:7f00:1::]/hook",
    "NAT64 of this machine": "https://[64:ff9b::7f00:1]/hook",
    "site-local": "https://[fec0::1]/hook",
    "multicast": "https://224.0.0.1/hook",
    "broadcast": "https://255.255.255.255/hook",
    "decimal": "https://2130706433/hook",
    "hexadecimal": "https://0x7f000001/hook",
    "hexadecimal in parts": "https://0x7f.0.0.1/hook",
    "octal": "https://0177.0.0.1/hook",
    "short form": "https://127.1/hook",
    "another port": "https://good.example:22/hook",
    "port of redis": "https://good.example:6379/hook",
    "CR and LF in the path": "https://good.example/hook\r\nX-Evil: 1",
    "tab": "https://good.example/ho\tok",
    "blank": "https://good.example /hook",
    "backslash": "https://good.example\\@evil.example/hook",
    "dot in full width": "https://127。0。0。1/hook",
    "letters in circles": "https://ⓛocalhost/hook",
    "no host": "https:///hook",
    "name that is none": "https://-bad-.example/hook",
    "too long": "https://good.example/" + "x" * 3000,
    "name without an address": "https://nowhere.example/hook",
    "malformed IPv6": "https://[::1/hook",
    "port that is none": "https://good.example:x/hook",
    "fragment": "https://good.example/hook#@evil.example",
}


@pytest.mark.parametrize("url", ATTACKS.values(), ids=ATTACKS.keys())
async def test_attack_is_refused_when_it_is_registered(url: str) -> None:
    with pytest.raises(OutboundRefused) as refused:
        await POLICY.check(url)
    assert "secret" not in str(refused.value)
    assert "evil" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["https://good.example/hook", "https://GOOD.example./hook?a=1", f"https://{PUBLIC}:8443/hook"],
)
async def test_a_public_address_is_allowed(url: str) -> None:
    target = await POLICY.check(url)
    assert target.origin in ("https://good.example:443", f"https://{PUBLIC}:8443")


@pytest.mark.parametrize(
    "found", [["10.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"], []]
)
async def test_a_name_with_one_bad_address_is_refused_as_a_whole(found: list[str]) -> None:
    policy = OutboundPolicy(resolve=_names(good_example=found))
    with pytest.raises(OutboundRefused):
        await policy.check("https://good.example/hook")


async def test_the_list_of_hosts_holds() -> None:
    policy = replace(POLICY, hosts=frozenset({"good.example", "*.agents.example"}))
    policy.check_url("https://good.example/")
    policy.check_url("https://a.b.agents.example/")
    for url in (
        "https://other.example/",
        "https://agents.example/",
        "https://evilagents.example/",
        "https://good.example.evil.example/",
        f"https://{PUBLIC}/",
    ):
        with pytest.raises(OutboundRefused, match="list"):
            policy.check_url(url)


def test_a_card_leads_to_its_own_host_or_to_a_listed_one() -> None:
    card = POLICY.check_url("https://good.example/.well-known/agent-card.json")
    assert POLICY.check_interface("https://good.example:8443/rpc", card=card).port == 8443
    with pytest.raises(OutboundRefused, match="another host"):
        POLICY.check_interface("https://other.example/rpc", card=card)
    listed = replace(POLICY, hosts=frozenset({"good.example", "other.example"}))
    assert listed.check_interface("https://other.example/rpc", card=card).host == "other.example"


@pytest.mark.parametrize("text", ["a\r\nX: 1", "a\nb", "a\x00", "gr\u00fcn", "a\x7fb"])
def test_a_token_cannot_end_its_header(text: str) -> None:
    with pytest.raises(OutboundRefused):
        check_secret(text)


def test_an_ordinary_token_is_fine() -> None:
    assert check_secret("Bearer abc.DEF-123_~+/=") == "Bearer abc.DEF-123_~+/="


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_in_ipv6_is_judged_as_itself(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    mapped = ipaddress.IPv6Address(f"::ffff:{plain}")
    carried = ipaddress.IPv6Address(0x2002 << 112 | number << 80)
    if objection_to(plain) is not None:
        assert objection_to(mapped) is not None
        assert objection_to(carried) is not None


# The wire: real sockets, with the one setting for development where an address has to be reached


@asynccontextmanager
async def _server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def _answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def test_a_name_that_changes_its_mind_is_checked_when_it_is_dialled() -> None:
    async with _server(_answer(b"{}")) as (port, seen):
        answers = [[PUBLIC], ["127.0.0.1"]]

        async def rebinding(host: str, _port: int) -> Sequence[str]:
            return answers.pop(0)

        policy = OutboundPolicy(resolve=rebinding, ports=frozenset({port}))
        url = f"https://good.example:{port}/hook"
        await policy.check(url)
        async with http_client(policy) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
        assert not seen
        assert not answers  # it was looked up once more, and once only


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    async with _server(_answer(b'{"a": 1}')) as (port, seen):
        looked_up: list[str] = []

        async def resolve(host: str, _port: int) -> Sequence[str]:
            looked_up.append(host)
            return ["127.0.0.1"]

        policy = OutboundPolicy(allow_private=True, resolve=resolve)
        async with http_client(policy) as client:
            found = await fetch_json(client, policy, f"http://agent.example:{port}/card")
        assert found == {"a": 1}
        assert looked_up == ["agent.example"]
        assert f"host: agent.example:{port}".encode() in seen[0].lower()


async def test_a_redirect_is_not_followed() -> None:
    async with (
        _server(_answer(b"{}")) as (inner, inner_seen),
        _server(_answer(b"", f"Location: http://127.0.0.1:{inner}/secret", status="302 Found")) as (
            port,
            _,
        ),
    ):
        policy = OutboundPolicy(allow_private=True)
        async with http_client(policy) as client:
            with pytest.raises(OutboundRefused, match="redirected"):
                await fetch_json(client, policy, f"http://127.0.0.1:{port}/card")
        assert not inner_seen


async def test_an_answer_without_end_is_cut() -> None:
    async with _server(_answer(b"[" + b" " * 50_000 + b"]")) as (port, _):
        policy = OutboundPolicy(allow_private=True, max_bytes=10_000)
        async with http_client(policy) as client:
            with pytest.raises(OutboundRefused, match="longer than 10000"):
                await fetch_json(client, policy, f"http://127.0.0.1:{port}/card")


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as listening:  # whoever connects is never accepted
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        policy = OutboundPolicy(allow_private=True, timeout=0.2)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/card"
        async with http_client(policy) as client:
            with pytest.raises(httpx.TimeoutException):
                await fetch_json(client, policy, url)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        _server(_answer(b'"proxy"')) as (proxy, proxied),
        _server(_answer(b'"direct"')) as (port, _),
    ):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        policy = OutboundPolicy(allow_private=True)
        async with http_client(policy) as client:
            found = await fetch_json(client, policy, f"http://127.0.0.1:{port}/card")
        assert found == "direct"
        assert not proxied


async def test_a_grpc_channel_goes_where_the_policy_allows_only() -> None:
    for address in ("10.0.0.1:443", "[::1]:443", "good.example:22", "user@good.example:443"):
        with pytest.raises(OutboundRefused):
            await grpc_channel(POLICY, address)
    with pytest.raises(OutboundRefused, match="TLS"):
        await grpc_channel(POLICY, "good.example:443", plain=True)
    channel = await grpc_channel(POLICY, "good.example:443")
    await channel.close()

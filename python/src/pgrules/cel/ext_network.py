"""IP addresses and ranges of them, as cel-go's library ``network``.

Addresses are parsed as Go's ``net/netip`` does: no leading zeros, no zones. An IPv4
address mapped into IPv6 is refused in its dotted form; written in hexadecimal,
``::ffff:c0a8:1``, it is that IPv4 address (cel-spec's conformance suite asks for both).
The text of a value is the canonical one of RFC 5952.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from . import types
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload, shown
from .values import Opaque, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from .types import Type

# No address and no range is longer; the parser need not look at longer texts.
_MAX_LENGTH: Final = 64
_NO_ADDRESS = "parse error during conversion from string"
_BITS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


class Ip(Opaque):
    """An IPv4 or IPv6 address."""

    __slots__ = ("address",)
    cel_type: ClassVar[Type] = types.IP

    def __init__(self, address: IPv4Address | IPv6Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return type(other) is Ip and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        return f"ip({str(self)!r})"


class Cidr(Opaque):
    """An address and the length of its network's prefix.

    The address keeps the bits behind the prefix: 10.0.0.1/8 is not 10.0.0.0/8.
    """

    __slots__ = ("address", "length")
    cel_type: ClassVar[Type] = types.CIDR

    def __init__(self, address: IPv4Address | IPv6Address, length: int) -> None:
        self.address = address
        self.length = length

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Cidr
            and self.address == other.address
            and self.length == other.length
        )

    def __hash__(self) -> int:
        return hash((self.address, self.length))

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    def __repr__(self) -> str:
        return f"cidr({str(self)!r})"

    def network(self) -> int:
        """The bits of the prefix."""
        return int(self.address) >> self.address.max_prefixlen - self.length

    def contains(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is of the same family and begins with the prefix."""
        return (
            address.version == self.address.version
            and int(address) >> address.max_prefixlen - self.length == self.network()
        )


# Parsing


def _address(text: str) -> IPv4Address | IPv6Address | str:
    """The address, or what is wrong with the text."""
    from ipaddress import IPv6Address, ip_address

    if "%" in text:
        return "a zone is not allowed"
    if len(text) > _MAX_LENGTH or not text.isascii():
        return _NO_ADDRESS
    try:
        address = ip_address(text)
    except ValueError:
        return _NO_ADDRESS
    if isinstance(address, IPv6Address):
        mapped: IPv4Address | None = address.ipv4_mapped
        if mapped is not None:
            return mapped if "." not in text else "IPv4-mapped IPv6 is not allowed"
    return address


def _range(text: str) -> Cidr | str:
    """The range, or what is wrong with the text."""
    before, slash, bits = text.rpartition("/")
    if not slash:
        return f"{_NO_ADDRESS}: no '/'"
    address = _address(before)
    if isinstance(address, str):
        return address
    if ":" in before and address.version == 4:
        # The length would count bits of IPv6.
        return "IPv4-mapped IPv6 is not allowed"
    if _BITS.fullmatch(bits) is None or int(bits) > address.max_prefixlen:
        return (
            f"{_NO_ADDRESS}: the prefix length is a number from 0 to "
            f"{address.max_prefixlen}"
        )
    return Cidr(address, int(bits))


def _ip(state: Evaluation, value: Value) -> Ip:
    """``ip('1.2.3.4')``, or the address of a range."""
    if type(value) is Cidr:
        return Ip(value.address)
    if type(value) is not str:
        raise no_overload("ip", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    address = _address(value)
    if isinstance(address, str):
        raise EvaluationError(f"IP address {shown(value)}: {address}")
    return Ip(address)


def _cidr(state: Evaluation, value: Value) -> Cidr:
    if type(value) is not str:
        raise no_overload("cidr", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    parsed = _range(value)
    if isinstance(parsed, str):
        raise EvaluationError(f"CIDR {shown(value)}: {parsed}")
    return parsed


def _is_ip(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("isIP", value)
    return not isinstance(_address(value), str)


def _is_cidr(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("isCIDR", value)
    return not isinstance(_range(value), str)


def _is_canonical(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("ip.isCanonical", value)
    return str(_ip(state, value)) == value


# Questions about an address, as Go's netip.Addr answers them


def _of_ip(
    name: str, result: str, answer: Callable[[IPv4Address | IPv6Address], Value]
) -> Function:
    def implementation(state: Evaluation, value: Value) -> Value:
        if type(value) is Ip:
            return answer(value.address)
        raise no_overload(name, value)

    return Function(name, (f"net.IP.() -> {result}",), implementation)


def _is_link_local_multicast(address: IPv4Address | IPv6Address) -> bool:
    """224.0.0.0/24, or ff02::/16 whatever the flags of ff02 are."""
    if address.version == 4:
        return address.packed[:3] == b"\xe0\x00\x00"
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _is_link_local_unicast(address: IPv4Address | IPv6Address) -> bool:
    """169.254.0.0/16, or fe80::/10."""
    if address.version == 4:
        return address.packed[:2] == b"\xa9\xfe"
    return address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


def _is_global_unicast(address: IPv4Address | IPv6Address) -> bool:
    """Every other unicast address, private ones too, but the broadcast address."""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or _is_link_local_unicast(address)
        or address.packed == b"\xff\xff\xff\xff"
    )


# Questions about a range


def _contains_ip(state: Evaluation, outer: Value, inner: Value) -> bool:
    if type(outer) is Cidr:
        if type(inner) is str:
            inner = _ip(state, inner)
        if type(inner) is Ip:
            return outer.contains(inner.address)
    raise no_overload("containsIP", outer, inner)


def _contains_cidr(state: Evaluation, outer: Value, inner: Value) -> bool:
    if type(outer) is Cidr:
        if type(inner) is str:
            inner = _cidr(state, inner)
        if type(inner) is Cidr:
            return outer.length <= inner.length and outer.contains(inner.address)
    raise no_overload("containsCIDR", outer, inner)


def _masked(state: Evaluation, value: Value) -> Cidr:
    """The range with the bits behind the prefix cleared."""
    if type(value) is not Cidr:
        raise no_overload("masked", value)
    free = value.address.max_prefixlen - value.length
    return Cidr(type(value.address)(value.network() << free), value.length)


def _prefix_length(state: Evaluation, value: Value) -> int:
    if type(value) is Cidr:
        return value.length
    raise no_overload("prefixLength", value)


LIBRARY = library(
    (
        Function("ip", ("(string) -> net.IP", "net.CIDR.() -> net.IP"), _ip),
        Function("cidr", ("(string) -> net.CIDR",), _cidr),
        Function("isIP", ("(string) -> bool",), _is_ip),
        Function("isCIDR", ("(string) -> bool",), _is_cidr),
        Function("ip.isCanonical", ("(string) -> bool",), _is_canonical),
        _of_ip("family", "int", lambda address: address.version),
        _of_ip("isUnspecified", "bool", lambda address: address.is_unspecified),
        _of_ip("isLoopback", "bool", lambda address: address.is_loopback),
        _of_ip("isGlobalUnicast", "bool", _is_global_unicast),
        _of_ip("isLinkLocalMulticast", "bool", _is_link_local_multicast),
        _of_ip("isLinkLocalUnicast", "bool", _is_link_local_unicast),
        Function(
            "containsIP",
            ("net.CIDR.(net.IP) -> bool", "net.CIDR.(string) -> bool"),
            _contains_ip,
        ),
        Function(
            "containsCIDR",
            ("net.CIDR.(net.CIDR) -> bool", "net.CIDR.(string) -> bool"),
            _contains_cidr,
        ),
        Function("masked", ("net.CIDR.() -> net.CIDR",), _masked),
        Function("prefixLength", ("net.CIDR.() -> int",), _prefix_length),
    )
)

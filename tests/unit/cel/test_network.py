"""The library network: addresses and ranges as Go's netip has them."""

from __future__ import annotations

import pytest

from pgrules.cel.facts import value_to_json
from tests.unit.cel.evaluating import evaluate, fails


class TestParsing:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.4 ",
            "\u0661.2.3.4",
            "1.2.3.4/8",
            ":::1",
            "1::2::3",
            "fe80::1%eth0",
            "::ffff:1.2.3.4",
            "::ffff:10.0.0.0/8",
            "1" * 100,
        ],
    )
    def test_no_addresses(self, text: str) -> None:
        assert "IP address" in fails("ip(a)", a=text)
        assert evaluate("isIP(a)", a=text) is False

    @pytest.mark.parametrize(
        "text",
        [
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "10.0.0.0/255.0.0.0",
            "::/129",
            "fe80::1%en0/24",
            "::ffff:1.2.3.4/24",
            "::ffff:c0a8:1/120",
            "/8",
        ],
    )
    def test_no_ranges(self, text: str) -> None:
        assert "CIDR" in fails("cidr(a)", a=text)
        assert evaluate("isCIDR(a)", a=text) is False

    def test_the_text_is_the_canonical_one(self) -> None:
        assert evaluate("string(ip(a))", a="2001:DB8:0:0:0:0:0:1") == "2001:db8::1"
        assert evaluate("string(cidr(a))", a="10.0.0.1/8") == "10.0.0.1/8"
        assert evaluate("ip.isCanonical(a)", a="2001:db8::1") is True
        assert evaluate("ip.isCanonical(a)", a="2001:DB8::1") is False
        assert "IP address" in fails("ip.isCanonical(a)", a="x")

    def test_an_address_mapped_into_ipv6_is_the_ipv4_address(self) -> None:
        assert evaluate("ip('::ffff:c0a8:1') == ip('192.168.0.1')") is True
        assert evaluate("ip('::ffff:c0a8:1').family()") == 4


class TestAddresses:
    def test_families(self) -> None:
        assert evaluate("ip('1.2.3.4').family()") == 4
        assert evaluate("ip('::1').family()") == 6
        assert evaluate("ip('0.0.0.1') == ip('::1')") is False

    @pytest.mark.parametrize(
        ("question", "yes", "no"),
        [
            ("isUnspecified", "0.0.0.0 ::", "0.0.0.1 ::1"),
            ("isLoopback", "127.0.0.1 127.255.0.1 ::1", "128.0.0.1 ::2"),
            (
                "isGlobalUnicast",
                "192.168.0.1 8.8.8.8 2001:db8::1 fd00::1",
                "0.0.0.0 127.0.0.1 224.0.0.1 169.254.0.1 255.255.255.255 :: ::1 ff02::",
            ),
            (
                "isLinkLocalMulticast",
                "224.0.0.1 224.0.0.255 ff02::1 ff12::1",
                "224.0.1.1 fd00::1 ff05::1",
            ),
            (
                "isLinkLocalUnicast",
                "169.254.169.254 fe80::1 febf::1",
                "192.168.0.1 fec0::1",
            ),
        ],
    )
    def test_kinds(self, question: str, yes: str, no: str) -> None:
        for address in yes.split():
            assert evaluate(f"ip(a).{question}()", a=address) is True, address
        for address in no.split():
            assert evaluate(f"ip(a).{question}()", a=address) is False, address


class TestRanges:
    def test_parts(self) -> None:
        assert evaluate("cidr('10.1.2.3/8').ip() == ip('10.1.2.3')") is True
        assert evaluate("cidr('10.1.2.3/8').prefixLength()") == 8
        assert evaluate("string(cidr('10.1.2.3/8').masked())") == "10.0.0.0/8"
        assert evaluate("string(cidr('2001:db8::1/0').masked())") == "::/0"
        assert evaluate("cidr('10.1.2.3/8') == cidr('10.0.0.0/8')") is False

    def test_addresses_in_a_range(self) -> None:
        text = "cidr(r).containsIP(ip(a)) && cidr(r).containsIP(a)"
        assert evaluate(text, r="192.168.0.0/24", a="192.168.0.255") is True
        assert evaluate(text, r="192.168.0.0/24", a="192.168.1.0") is False
        assert evaluate(text, r="0.0.0.0/0", a="255.255.255.255") is True
        assert evaluate(text, r="::/0", a="1.2.3.4") is False
        assert evaluate(text, r="10.0.0.1/32", a="10.0.0.1") is True
        assert "IP address" in fails("cidr('::/0').containsIP('x')")

    def test_ranges_in_a_range(self) -> None:
        text = "cidr(r).containsCIDR(cidr(a)) && cidr(r).containsCIDR(a)"
        assert evaluate(text, r="10.0.0.0/8", a="10.1.0.0/16") is True
        assert evaluate(text, r="10.0.0.0/8", a="10.0.0.0/8") is True
        assert evaluate(text, r="10.0.0.0/8", a="10.0.0.0/7") is False
        assert evaluate(text, r="10.0.0.0/8", a="11.0.0.0/16") is False
        assert evaluate(text, r="::/0", a="10.0.0.0/8") is False


class TestValues:
    def test_types_have_names(self) -> None:
        assert evaluate("type(ip('::1')) == net.IP") is True
        assert evaluate("type(cidr('::1/64')) == net.CIDR") is True

    def test_addresses_are_compared_for_equality_only(self) -> None:
        assert evaluate("ip('::1') in [ip('::2'), ip('0:0::1')]") is True
        assert fails("dyn(ip('::1')) < ip('::2')")
        assert "key" in fails("{dyn(ip('::1')): 1}")

    def test_in_json_they_are_their_texts(self) -> None:
        found = evaluate("[dyn(ip('::1')), cidr('10.0.0.0/8')]")
        assert value_to_json(found) == '["::1","10.0.0.0/8"]'


def test_what_is_equal_has_one_hash() -> None:
    texts = ("10.0.0.1", "10.0.0.1", "10.0.0.2")
    assert len({evaluate(f"ip('{text}')") for text in texts}) == 2
    assert len({evaluate(f"cidr('{text}/32')") for text in texts}) == 2
    assert len({evaluate("cidr('10.0.0.0/8')"), evaluate("cidr('10.0.0.0/9')")}) == 2

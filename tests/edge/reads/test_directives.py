"""Fields of caching as origins and clients write them, well-formed and not."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import asctime

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.errors import RangeNotSatisfiable
from headgate_gateway.rules.directives import (
    LONGEST_S,
    age_of,
    governing,
    members,
    normalised,
    parse_date,
    parse_dictionary,
    parse_directives,
    requested_part,
)

ABSENT = "\n"


def fields(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([""], []),
        pytest.param([" , ,a ,\tb, "], ["a", "b"], id="blanks-and-empty-members"),
        (["a, b", "c"], ["a", "b", "c"]),
        (['a="x, y", b'], ['a="x, y"', "b"]),
        pytest.param(['a="x\\", y", b'], ['a="x\\", y"', "b"], id="an-escaped-quote"),
        (['a="x, no-store'], ['a="x', "no-store"]),
        (['a="x", b="y, no-store'], ['a="x"', 'b="y', "no-store"]),
        (['a="', '", b'], ['a="', '"', "b"]),
    ],
)
def test_a_list_field_is_split_at_commas_outside_of_closed_quotes(
    lines: list[str], expected: list[str]
) -> None:
    assert members(lines) == expected


@pytest.mark.parametrize("unit", ['"', '\\"', '"\\', '","', 'a="', "(", ";a", "a ", "a,"])
def test_hostile_cache_fields_are_parsed_in_linear_time(unit: str) -> None:
    text = unit * 200_000  # quadratic would not end within the limit of a test
    members([text, '"' + text])
    parse_dictionary([text, f"a={text}", f'a="{text}'])
    parse_date(text)
    normalised("accept-encoding", fields(("Accept-Encoding", text)))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["max-age=60"], {"max-age": "60"}),
        (["Max-Age=60, No-Store"], {"max-age": "60", "no-store": ""}),
        (["max-age=60", "s-maxage=1"], {"max-age": "60", "s-maxage": "1"}),
        (["max-age=1, max-age=60"], {"max-age": "1"}),
        (["max-age=1", "max-age=60"], {"max-age": "1"}),
        (['private="a, b", public'], {"private": '"a, b"', "public": ""}),
        (['extension="max-age=60", max-age=1'], {"extension": '"max-age=60"', "max-age": "1"}),
        (["max-age =60"], {"max-age": " 60"}),
        (["max-age= 60"], {"max-age": " 60"}),
        (["a=b=c"], {"a": "b=c"}),
        (["=60"], {"": "60"}),
    ],
)
def test_repeated_cache_control_directives_are_parsed_into_one_value_each(
    lines: list[str], expected: dict[str, str]
) -> None:
    assert parse_directives(lines) == expected


@pytest.mark.parametrize(
    ("argument", "seconds"),
    [
        ("0", 0),
        ("0060", 60),
        ('"60"', 60),
        ("2147483648", LONGEST_S),
        ("99999999999", LONGEST_S),
        pytest.param("9" * 5000, LONGEST_S, id="five-thousand-digits"),
        pytest.param("0" * 5000 + "60", 60, id="five-thousand-leading-zeros"),
        *((odd, 0) for odd in ("", '"', " 60", "-60", "60.0", "60a", "٦٠")),
    ],
)
def test_only_a_whole_number_of_seconds_is_read_as_a_lifetime(argument: str, seconds: int) -> None:
    directives = governing(fields(("Cache-Control", f"max-age={argument}")))
    assert directives.seconds("max-age") == seconds
    assert directives.seconds("s-maxage") is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {}),
        (["max-age=60"], {"max-age": "60"}),
        (["max-age=60 , private"], {"max-age": "60", "private": "?1"}),
        (["max-age=60", "private"], {"max-age": "60", "private": "?1"}),
        (["max-age=60, max-age=1"], {"max-age": "1"}),
        (["max-age=-1"], {"max-age": "-1"}),
        (["foobar;a=1;b, max-age=60;c=?0"], {"foobar": "?1", "max-age": "60"}),
        (["no-cache=(a b)"], {"no-cache": "(a b)"}),
        (["private=?0, max-age=60"], {"max-age": "60"}),
        (["max-age=60.0, no-store"], {"no-store": "?1"}),
        (['max-age="60"'], {}),
        (["max-age=60, &&&&&"], {}),
        (["MaX-aGe=60"], {}),
        (["max-age=60,"], {}),
        (["max-age=60 no-store"], {}),
        (["max-age=1234567890123456"], {}),
    ],
)
def test_a_targeted_field_is_parsed_as_a_dictionary_and_is_empty_if_malformed(
    lines: list[str], expected: dict[str, str]
) -> None:
    assert parse_dictionary(lines) == expected


PIECES = (
    *("a", "b", "*", "A", "1", "-", "-1", "1.", "1.5", ".5", "1.5555", "?1", "?0", "?2", "t/b"),
    *("1234567890123456", "123456789012345", "1234567890123.1", "123456789012.1", ":YQ==:", ":="),
    *('"x"', '"x, y"', '"\\""', '"\\x"', '"', "(", ")", "(a b)", "( a  b )", "(a,b)", "()"),
    *(";", ";x", ";x=1", "; x", ";X", "=", "=1", " ", "\t", ",", ", ", " ,", "é", "\x7f"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
@example("a=1\t")
@example("a=1 \t, b")
@example("a=(b;c d);e, b=?0;c, f")
def test_a_targeted_field_is_parsed_like_an_independent_parser_does(text: str) -> None:
    parsed: object = {}
    with suppress(http_sf.StructuredFieldError):
        parsed = http_sf.parse(text.encode("latin-1"), tltype="dictionary")
    assert isinstance(parsed, dict)
    expected = {name for name, item in parsed.items() if item[0] is not False}
    assert set(parse_dictionary([text])) == expected


@pytest.mark.parametrize(
    ("targeted", "given", "is_targeted"),
    [
        ("max-age=60", {"max-age": "60"}, True),
        ("", {"no-store": ""}, False),
        ("max-age='60", {"no-store": ""}, False),
        ('max-age="60"', {"no-store": ""}, False),
    ],
)
def test_a_targeted_field_replaces_cache_control_only_if_it_is_valid(
    targeted: str, given: dict[str, str], is_targeted: bool
) -> None:
    directives = governing(fields(("Cache-Control", "no-store"), ("CDN-Cache-Control", targeted)))
    assert (directives.by_name, directives.targeted) == (given, is_targeted)


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        ([], 0),
        ([""], 0),
        (["30"], 30),
        (["7200, 0"], 7200),
        (["0, 7200"], 0),
        (["7200", "0"], 7200),
        (["0", "7200"], 0),
        (["2147483647"], 2**31 - 1),
        (["2147483648"], LONGEST_S),
        (["2147483649"], LONGEST_S),
        (["abc"], 0),
        (["-7200"], 0),
        (["7200.0"], 0),
        (["7200;foo=bar"], 0),
    ],
)
def test_the_first_valid_age_is_used_and_a_malformed_one_is_zero(
    lines: list[str], age: int
) -> None:
    assert age_of(fields(*(("Age", line) for line in lines))) == age


AUGUST_2050 = datetime(2050, 8, 18, 2, 1, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 18 Aug 2050 02:01:18 GMT",
        pytest.param(" Thu, 18 Aug 2050 02:01:18 GMT\t", id="blanks-around-it"),
        "THU, 18 aug 2050 02:01:18 gMT",
        "Mon, 18 Aug 2050 02:01:18 GMT",
        "Thursday, 18-Aug-50 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
    ],
)
def test_a_date_is_parsed_in_each_of_its_formats(text: str) -> None:
    assert parse_date(text) == AUGUST_2050


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 2050 02:01:18 +0000",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 18 Aug 2050 24:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:61 GMT",
        "Thu, 31 Feb 2050 02:01:18 GMT",
        "Thu, 18 Aug 0000 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18",
        "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        "Thu Aug 8 02:01:18 2050",
        "Thu, 1８ Aug 2050 02:01:18 GMT",
    ],
)
def test_a_malformed_date_is_ignored(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize("year", [1970, 1994, 2026, 2068, 2069])
@pytest.mark.parametrize("weekday", ["Friday", "Wednesday"])
def test_a_two_digit_year_is_between_1970_and_2069(year: int, weekday: str) -> None:
    moment = datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC)
    assert parse_date(f"{weekday}, {moment:%d-%b-%y} 08:49:37 GMT") == moment.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "Saturday, 31-Dec-16 23:59:60 GMT",
        "Sat Dec 31 23:59:60 2016",
    ],
)
def test_a_leap_second_is_parsed_as_the_last_second_of_its_minute(text: str) -> None:
    assert parse_date(text) == 1_483_228_799


@given(st.integers(0, 253_402_300_799))
def test_a_formatted_date_is_parsed_back_to_its_second(seconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert parse_date(format_datetime(moment, usegmt=True)) == seconds
    assert parse_date(asctime(moment.timetuple())) == seconds


@pytest.mark.parametrize(
    ("name", "one", "other", "is_same"),
    [
        ("foo", ["1, 2"], ["1", "2"], True),
        ("foo", ["1,2"], [" 1 , 2 "], True),
        ("foo", ["1"], [",1,"], True),
        ("accept-language", ["en, de"], ["de, en"], True),
        ("accept-language", ["en, de"], ["eN,  De"], True),
        ("accept-language", ["en;q=0.5, de"], ["de", "en; q=0.5"], True),
        ("accept-encoding", ["gzip, br"], ["br;q=1.0, GZIP"], True),
        ("accept-encoding", ["gzip"], ["gzip, identity;q=0.5, br;q=0, zstd; q=0.000"], True),
        ("accept-encoding", [""], ["identity"], True),
        ("foo", ["1"], ["2"], False),
        ("foo", ["1, 2"], ["2, 1"], False),
        ("foo", ["a"], ["A"], False),
        ("foo", ['"a, b"'], ['"a,b"'], False),
        ("foo", [], [""], False),
        ("accept-language", ["en"], ["en;q=0.5"], False),
        ("accept-encoding", ["gzip"], ["gzip, br"], False),
        ("accept-encoding", ["gzip"], ["gzip;q=0"], False),
        ("accept-encoding", ["gzip"], ["gzip, mine"], False),
        ("accept-encoding", ["gzip"], ["gzip, *"], False),
    ],
)
def test_only_spellings_of_one_header_value_select_one_variant(
    name: str, one: list[str], other: list[str], is_same: bool
) -> None:
    spellings = [fields(*((name.title(), line) for line in lines)) for lines in (one, other)]
    first, second = [normalised(name, spelling) for spelling in spellings]
    assert (first == second) is is_same
    assert normalised(name, fields()) == ABSENT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-1", (0, 2)),
        ("bytes=9-10", (9, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-11", (0, 10)),
        pytest.param(f"bytes=0-{'9' * 5000}", (0, 10), id="an-end-of-five-thousand-digits"),
        (" Bytes = 0-1 ", (0, 2)),
        ("", None),
        ("bytes=-", None),
        ("bytes=2-1", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("bytes=0 - 1", None),
        ("items=0-1", None),
        ("bytes=٠-١", None),
    ],
)
def test_a_single_byte_range_is_parsed_and_anything_else_is_ignored(
    text: str, expected: tuple[int, int] | None
) -> None:
    assert requested_part(text, 10) == expected
    assert requested_part(text, 0) is None


@pytest.mark.parametrize("start", ["-0", "10-", pytest.param(f"{'9' * 5000}-", id="many-digits")])
def test_a_range_past_the_end_is_not_satisfiable(start: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_part(f"bytes={start}", 10)

"""Which `traceparent` headers name a span, and how one is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.http.header_names import TraceContext, parse_traceparent
from headgate_gateway.telemetry.spans import format_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),  # flags that are not known yet
        (f"01-{TRACE}-{SPAN}-01", 1),  # a version that is not known yet
        pytest.param(f"fe-{TRACE}-{SPAN}-01-what-it-adds", 1, id="a-later-version-with-more-parts"),
    ],
)
def test_a_valid_traceparent_is_parsed_into_trace_span_and_flags(text: str, flags: int) -> None:
    assert parse_traceparent(text) == TraceContext(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", id="a-newline"),
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1",
        pytest.param(
            f"00-{'٣' * 32}-{SPAN}-01", id="a-trace-in-arabic-digits"
        ),  # digits, but not of ASCII
    ],
)
def test_an_invalid_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize(("flags", "is_sampled"), [(0, False), (1, True), (2, False), (3, True)])
def test_only_the_lowest_flag_bit_marks_a_recorded_trace(flags: int, is_sampled: bool) -> None:
    assert TraceContext(TRACE, SPAN, flags).is_sampled is is_sampled


@given(
    st.integers(1, 2**128 - 1).map("{:032x}".format),
    st.integers(1, 2**64 - 1).map("{:016x}".format),
    st.integers(0, 1),
)
def test_a_formatted_traceparent_is_parsed_back(trace_id: str, span_id: str, flags: int) -> None:
    context = TraceContext(trace_id, span_id, flags)
    assert parse_traceparent(format_traceparent(context)) == context


def test_unknown_trace_flags_are_not_passed_on() -> None:
    assert format_traceparent(TraceContext(TRACE, SPAN, 0xFF)) == f"00-{TRACE}-{SPAN}-01"

"""Ends of the head of a POST, with its body, that parsers of HTTP/1.1 may understand differently.

Each is to be refused with 400 (RFC 9112 sections 2.2, 5, 6 and 7).
"""

from __future__ import annotations

import pytest

CHUNKS = b"4\r\nmore\r\n0\r\n\r\n"
AMBIGUOUS_FRAMINGS = [
    pytest.param(b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nmore", id="two-different-lengths"),
    pytest.param(b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nmore", id="one-length-twice"),
    pytest.param(b"Content-Length: 4, 5\r\n\r\nmore", id="a-list-of-lengths"),
    pytest.param(
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        id="a-length-before-chunks",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKS,
        id="chunks-before-a-length",
    ),
    pytest.param(b"Content-Length: +4\r\n\r\nmore", id="a-plus-before-the-length"),
    pytest.param(b"Content-Length: -4\r\n\r\nmore", id="a-negative-length"),
    pytest.param(b"Content-Length: 0x4\r\n\r\nmore", id="a-hexadecimal-length"),
    pytest.param(b"Content-Length: 4_0\r\n\r\nmore", id="an-underscore-in-the-length"),
    pytest.param(b"Content-Length: 4 4\r\n\r\nmore", id="a-blank-in-the-length"),
    pytest.param(b"Content-Length: \xd9\xa4\r\n\r\nmore", id="a-length-in-arabic-digits"),
    pytest.param(b"Content-Length:\r\n\r\nmore", id="an-empty-length"),
    pytest.param(b"Content-Length : 4\r\n\r\nmore", id="a-blank-before-the-colon-of-the-length"),
    pytest.param(b"Content-Length\t: 4\r\n\r\nmore", id="a-tab-before-the-colon-of-the-length"),
    pytest.param(b" Content-Length: 4\r\n\r\nmore", id="a-blank-before-the-first-field"),
    pytest.param(b"X: 1\r\n Content-Length: 4\r\n\r\nmore", id="a-length-on-a-folded-line"),
    pytest.param(b"Content-Length:\r\n 4\r\n\r\nmore", id="a-folded-length"),
    pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, id="an-unknown-transfer-coding"),
    pytest.param(
        b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS, id="chunked-before-identity"
    ),
    pytest.param(b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS, id="chunked-twice"),
    pytest.param(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKS,
        id="a-second-transfer-coding-line-with-identity",
    ),
    pytest.param(
        b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
        id="a-control-character-before-chunked",
    ),
    pytest.param(
        b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
        id="a-blank-before-the-colon-of-the-transfer-coding",
    ),
    pytest.param(b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS, id="a-folded-transfer-coding"),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n-4\r\nmore\r\n0\r\n\r\n", id="a-negative-chunk-size"
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n+4\r\nmore\r\n0\r\n\r\n",
        id="a-plus-before-the-chunk-size",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n0x4\r\nmore\r\n0\r\n\r\n",
        id="a-hexadecimal-prefix-of-the-chunk-size",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n 4\r\nmore\r\n0\r\n\r\n",
        id="a-blank-before-the-chunk-size",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n4\nmore\r\n0\r\n\r\n", id="a-chunk-size-ended-by-lf"
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nmore\n0\r\n\r\n", id="a-chunk-ended-by-lf"
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nmoreX\r\n0\r\n\r\n",
        id="a-chunk-longer-than-its-size",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nmore\r\n0\r\n\r\n",
        id="a-chunk-size-over-64-bits",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n4;a=\n\r\nmore\r\n0\r\n\r\n",
        id="an-lf-in-a-chunk-extension",
    ),
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\nContent-Length: 9\r\n\r\n",
        id="a-length-in-the-trailers",
    ),
    pytest.param(b"X-Name\r\nContent-Length: 4\r\n\r\nmore", id="a-field-without-a-colon"),
    pytest.param(b"X Name: 1\r\nContent-Length: 4\r\n\r\nmore", id="a-blank-in-a-field-name"),
    pytest.param(b": 1\r\nContent-Length: 4\r\n\r\nmore", id="an-empty-field-name"),
    pytest.param(b"X-Bare: 1\nContent-Length: 4\r\n\r\nmore", id="a-field-ended-by-lf"),
    pytest.param(b"X-Bare: 1\rContent-Length: 4\r\n\r\nmore", id="a-cr-within-a-field"),
    pytest.param(b"X-Nul: \0\r\nContent-Length: 4\r\n\r\nmore", id="a-nul-in-a-field"),
    pytest.param(b"Content-Length: 4\n\nmore", id="a-length-ended-by-lf"),
    pytest.param(b"Content-Length: 4\r\n\nmore", id="a-head-ended-by-lf"),
    pytest.param(b"X-Folded: 1\r\n 2\r\nContent-Length: 4\r\n\r\nmore", id="a-folded-field"),
    pytest.param(b"Host: other\r\nContent-Length: 4\r\n\r\nmore", id="a-second-host"),
]

"""Header lines and body of a POST that parsers of HTTP/1.1 may frame differently."""

from __future__ import annotations

CHUNKS = b"4\r\nmore\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

# Refused with 400 (RFC 9112 sections 2.2, 5, 6 and 7), and nothing of it arrives.
REFUSED = {
    # Content-Length
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nmore",
    "one length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nmore",
    "a list of lengths": b"Content-Length: 4, 4\r\n\r\nmore",
    "a length with a sign": b"Content-Length: +4\r\n\r\nmore",
    "a negative length": b"Content-Length: -4\r\n\r\nmore",
    "a hexadecimal length": b"Content-Length: 0x4\r\n\r\nmore",
    "a length with an underscore": b"Content-Length: 4_0\r\n\r\nmore",
    "a length with a blank": b"Content-Length: 4 4\r\n\r\nmore",
    "a fraction as length": b"Content-Length: 4.0\r\n\r\nmore",
    "a length in other digits": "Content-Length: \u0664\r\n\r\nmore".encode(),
    "an empty length": b"Content-Length:\r\n\r\nmore",
    "a length past 64 bits": b"Content-Length: 18446744073709551620\r\n\r\nmore",
    "a blank before the colon": b"Content-Length : 4\r\n\r\nmore",
    "a tab before the colon": b"Content-Length\t: 4\r\n\r\nmore",
    "a blank before the name": b" Content-Length: 4\r\n\r\nmore",
    # Content-Length and Transfer-Encoding
    "length, then chunks": b"Content-Length: 4\r\n" + CHUNKED + CHUNKS,
    "chunks, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKS,
    "chunks, no length": b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + CHUNKS,
    # Transfer-Encoding
    "no coding": b"Transfer-Encoding:\r\nContent-Length: 4\r\n\r\nmore",
    "no coding, no length": b"Transfer-Encoding: \r\n\r\n" + CHUNKS,
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunkedx": b"Transfer-Encoding: chunkedx\r\n\r\n" + CHUNKS,
    "chunked, then identity": b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "a coding after a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a quoted coding": b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "a coding with a parameter": b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS,
    "a blank before the coding's colon": b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "NUL before the coding": b"Transfer-Encoding: \0chunked\r\n\r\n" + CHUNKS,
    # Line ends and folds
    "a folded length": b"X: 1\r\n Content-Length: 4\r\n\r\nmore",
    "a folded value": b"Content-Length:\r\n 4\r\n\r\nmore",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a bare LF": b"X: 1\nContent-Length: 4\r\n\r\nmore",
    "a bare CR": b"X: 1\rContent-Length: 4\r\n\r\nmore",
    "LF for all": b"Content-Length: 4\n\nmore",
    "LF in the last line end": b"Content-Length: 4\r\n\nmore",
    "NUL in a value": b"X: \0\r\nContent-Length: 4\r\n\r\nmore",
    "no colon": b"X\r\nContent-Length: 4\r\n\r\nmore",
    "no name": b": 1\r\nContent-Length: 4\r\n\r\nmore",
    "a blank in a name": b"X Y: 1\r\nContent-Length: 4\r\n\r\nmore",
    "two hosts": b"Host: other\r\nContent-Length: 4\r\n\r\nmore",
    # Chunks
    "a negative chunk": CHUNKED + b"-4\r\nmore\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"+4\r\nmore\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x4\r\nmore\r\n0\r\n\r\n",
    "a chunk with an underscore": CHUNKED + b"0_4\r\nmore\r\n0\r\n\r\n",
    "a blank before a chunk": CHUNKED + b" 4\r\nmore\r\n0\r\n\r\n",
    "a chunk's size ends with LF": CHUNKED + b"4\nmore\r\n0\r\n\r\n",
    "a chunk ends with LF": CHUNKED + b"4\r\nmore\n0\r\n\r\n",
    "a chunk over its size": CHUNKED + b"4\r\nmoreX\r\n0\r\n\r\n",
    "a chunk past 64 bits": CHUNKED + b"fffffffffffffffff\r\nmore\r\n0\r\n\r\n",
    "an extension with LF": CHUNKED + b"4;a=\n\r\nmore\r\n0\r\n\r\n",
    "an extension with CR": CHUNKED + b"4;a\rb\r\nmore\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nmore\r\n0\r\n\r\n",
    "a length as a trailer": CHUNKED + b"4\r\nmore\r\n0\r\nContent-Length: 9\r\n\r\n",
}
# Clear, and arrives once, with the body "more".
ONCE = {
    "a length": b"Content-Length: 4\r\n\r\nmore",
    "a length without a blank": b"Content-Length:4\r\n\r\nmore",
    "zeros before a length": b"Content-Length: 0004\r\n\r\nmore",
    "chunks": CHUNKED + CHUNKS,
    "Chunked after a tab": b"Transfer-Encoding:\tChunked\r\n\r\n" + CHUNKS,
    "an extension": CHUNKED + b'4;a="b;c"\r\nmore\r\n0;d\r\n\r\n',
    "zeros before chunks": CHUNKED + b"0004\r\nmore\r\n000\r\n\r\n",
    "chunks of a byte": CHUNKED + b"1\r\nm\r\n1\r\no\r\n1\r\nr\r\n1\r\ne\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"4\r\nmore\r\n0\r\nX-Trailer: 9\r\n\r\n",
    "a length named by Connection": b"Connection: content-length\r\nContent-Length: 4\r\n\r\nmore",
    "a coding named by Connection": b"Connection: transfer-encoding\r\n" + CHUNKED + CHUNKS,
    "a host named by Connection": b"Connection: host\r\nContent-Length: 4\r\n\r\nmore",
    "a websocket with a body": (
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nmore"
    ),
    "h2c with a body": (
        b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: 4\r\n\r\nmore"
    ),
    "an underscore for a hyphen": b"Transfer_Encoding: chunked\r\nContent-Length: 4\r\n\r\nmore",
    "another method": b"X-HTTP-Method-Override: DELETE\r\nContent-Length: 4\r\n\r\nmore",
    "a promise of trailers": b"TE: trailers\r\nTrailer: X\r\nContent-Length: 4\r\n\r\nmore",
    "Expect": b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nmore",
}

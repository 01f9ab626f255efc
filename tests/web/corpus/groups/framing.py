"""What HTTP itself allows and forbids: methods, targets, heads, bodies, connections."""

from __future__ import annotations

from tests.support.serving import PREFIX, get, post, put, request
from tests.web.corpus.exchange import Exchange, Given, Stage, Step
from tests.web.corpus.stages import OWN_LOG
from tests.web.corpus.steps import Answers, Ask, Finish, More, Parts, Rest, Send

S = Given(put("s", body=b"one"))
CACHED = (S, Given(get("s?offset=-1")))
READ = get("s?offset=-1")
HOST, TEXT, EXPECT = "Host: headgate.test", "Content-Type: text/plain", "Expect: 100-continue"
CHUNKED = request("POST", "s", TEXT, "Transfer-Encoding: chunked").replace(
    b"Content-Length: 0\r\n", b""
)
# Each is short alone: which of two comes first would be luck.
SHORT_HEADS = OWN_LOG.but(header_timeout=1.0)
SHORT_BODIES = OWN_LOG.but(body_timeout=0.2)
SHORT_REST = OWN_LOG.but(keepalive_timeout=0.2)


def _made(name: str, *steps: bytes | Step, stage: Stage = OWN_LOG) -> Exchange:
    made = [Ask(step) if isinstance(step, bytes) else step for step in steps]
    return Exchange(name, stage, made, () if "hosts" in stage.options else CACHED)


def _head(*lines: str, line: str = f"GET {PREFIX}/s?offset=-1 HTTP/1.1") -> bytes:
    return "\r\n".join([line, *lines, "", ""]).encode("latin-1")


METHODS = [
    *(
        _made(f"{method} {where}", request(method, target))
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "get")
        for where, target in {
            "of the front page": "/",
            "of the prefix": PREFIX,
            "outside of the routes": "/elsewhere",
            "of __ds": f"{PREFIX}/__ds/x",
        }.items()
    ),
    *(
        _made(f"{method} of a stream", request(method, "s"))
        for method in ("OPTIONS", "PATCH", "TRACE", "PROPFIND")
    ),
    *(
        _made(f"{method} *", request(method, "*").replace(f"{PREFIX}/*".encode(), b"*"))
        for method in ("OPTIONS", "GET", "POST")
    ),
    _made("PATCH with a body", request("PATCH", "s", body=b"x")),
    _made("OPTIONS with a body", request("OPTIONS", "s", body=b"x")),
    _made("GET with a body", request("GET", "s?offset=-1", body=b"body")),
    _made("HEAD with a body", request("HEAD", "s", body=b"body")),
    _made("CONNECT of a host", _head(HOST, line="CONNECT other.test:443 HTTP/1.1")),
    _made("CONNECT of a stream", request("CONNECT", "s")),
    _made("CONNECT of nothing", _head(HOST, line="CONNECT  HTTP/1.1")),
    _made("CONNECT without anything", b"CONNECT \r\n\r\n"),
    _made("the front page for a browser", request("GET", "/", "Accept: text/html")),
    _made("the front page for a program", request("GET", "/", "Accept: application/json")),
    _made("a method that is not known", request("BREW", "s")),
    _made("a method that is long", request("A" * 40, "s")),
]

TARGETS = [
    _made(f"target {name}", get(target))
    for name, target in {
        "with an empty segment": f"{PREFIX}/a//b",
        "with a bad escape": f"{PREFIX}/%zz",
        "with half an escape": f"{PREFIX}/a%2",
        "with an escaped zero": f"{PREFIX}/a%00b",
        "with bytes that are no UTF-8": f"{PREFIX}/%ff",
        "with a dot segment": f"{PREFIX}/a/./b",
        "with two dots": f"{PREFIX}/a/../s",
        "with escaped dots": f"{PREFIX}/%2e%2e/s",
        "with a fragment": f"{PREFIX}/s#x",
        "with a raw non-ASCII byte": f"{PREFIX}/\u00e9",
        "of another scheme": f"ftp://headgate.test{PREFIX}/s",
        "with a user": f"http://u:p@headgate.test{PREFIX}/s?offset=-1",
        "that is only a host": "http://headgate.test/",
        "with a backslash": f"{PREFIX}/a\\b",
        "with two question marks": f"{PREFIX}/s?offset=-1?x",
        "with an empty query": f"{PREFIX}/s?",
        "of 9,000 characters": f"{PREFIX}/{'n' * 9000}",
        "of the prefix with another letter": f"{PREFIX}x/s",
        "of the prefix in capitals": f"{PREFIX.upper()}/s",
        "that is a route's below another": f"/other{PREFIX}/s",
    }.items()
]

HEADS = [
    _made("two blanks", READ.replace(b"GET ", b"GET  ", 1)),
    _made("two blanks before the version", READ.replace(b" HTTP", b"  HTTP", 1)),
    _made("a tab for a blank", READ.replace(b"GET ", b"GET\t", 1)),
    _made("an empty line before", b"\r\n" + READ),
    _made("two empty lines before", b"\r\n\r\n" + READ),
    _made("a bare line feed", READ.replace(b"\r\nHost", b"\nHost")),
    _made("no version", _head(HOST, line=f"GET {PREFIX}/s")),
    _made("version 0.9", request("GET", "s?offset=-1", version="0.9")),
    _made("version 1.2", request("GET", "s?offset=-1", version="1.2")),
    _made("version 2.0", request("GET", "s?offset=-1", version="2.0")),
    _made("a version that is none", request("GET", "s?offset=-1", version="x")),
    _made("no HTTP", b"hello\r\n\r\n"),
    _made("TLS", b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03\r\n\r\n"),
    _made("a header without a colon", _head(HOST, "nothing")),
    _made("a header without a name", _head(HOST, ": x")),
    _made("a blank before a colon", _head("Host : headgate.test")),
    _made("a folded header", _head(HOST, "X: a", " b")),
    _made("a zero in a header", _head(HOST, "X: a\x00b")),
    _made("a non-ASCII byte in a header", _head(HOST, "X: \u00e9")),
    _made("a header of 9,000 bytes", _head(HOST, f"X: {'v' * 9000}")),
    _made(
        "a head of 40,000 bytes",
        _head(HOST, *[f"X{n}: {'v' * 4000}" for n in range(10)]),
    ),
    _made(
        "a header line that does not end",
        Send((_head(HOST, f"X: {'v' * 70_000}")[:-4],)),
        Answers(),
    ),
    _made("200 headers", _head(HOST, *[f"X-{n}: 1" for n in range(200)])),
    _made("no Host", _head()),
    _made("no Host in HTTP/1.0", _head(line=f"GET {PREFIX}/s?offset=-1 HTTP/1.0")),
    _made("two Hosts", _head(HOST, HOST)),
    *(
        _made(f"Host {host or 'that is empty'}", _head(f"Host: {host}"))
        for host in (
            *("", "a b", "a,b", "u:p@headgate.test", "headgate.test:99999", "headgate.test:"),
            *("[::1]", "[::1", "[1]", "HEADGATE.test:80", "\u00e9"),
        )
    ),
    _made(
        "two Origins", get("s?offset=-1", "Origin: https://a.example", "Origin: https://b.example")
    ),
    _made(
        "two Authorizations",
        get("s?offset=-1", "Authorization: Bearer a", "Authorization: Bearer b"),
    ),
    _made("Last-Event-ID twice", get("s?offset=-1", "Last-Event-ID: a", "Last-Event-ID: b")),
    _made("a host that is not served", READ, stage=OWN_LOG.but(hosts=("a.test",))),
    _made("a host that is served", READ, stage=OWN_LOG.but(hosts=("a.test", "headgate.test"))),
]

# What a request says of its connection.
CONNECTION_LINES: dict[str, list[str]] = {
    "no word": [],
    "keep-alive": ["Connection: keep-alive"],
    "close": ["Connection: close"],
    "Keep-Alive, x": ["Connection: Keep-Alive, x"],
    "upgrade": ["Connection: upgrade"],
}

CONNECTIONS = [
    *(
        _made(f"{what} by HTTP/{version}, {connection}", data)
        for version in ("1.0", "1.1")
        for connection, lines in CONNECTION_LINES.items()
        for what, data in (
            ("a read", request("GET", "s?offset=-1", *lines, version=version)),
            ("an append", request("POST", "s", TEXT, *lines, body=b"x", version=version)),
        )
    ),
    _made(
        "a refusal by HTTP/1.0 that keeps alive",
        request("GET", "s?offset=bad", "Connection: keep-alive", version="1.0"),
    ),
    _made("HEAD by HTTP/1.0", request("HEAD", "s", version="1.0")),
    _made("Upgrade to WebSocket", get("s?offset=-1", "Connection: Upgrade", "Upgrade: websocket")),
    _made(
        "Upgrade to HTTP/2",
        get(
            "s?offset=-1",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AA",
        ),
    ),
    _made("Upgrade of an append", post("s", b"x", "Connection: Upgrade", "Upgrade: websocket")),
    _made("Upgrade without Connection", get("s?offset=-1", "Upgrade: websocket")),
    _made("Proxy-Connection", get("s?offset=-1", "Proxy-Connection: close")),
    _made("a client that sends no more", Send((READ,)), Finish(), Answers(), Rest()),
    _made("a client that sends no more in a head", Send((READ[:30],)), Finish(), Rest()),
    _made(
        "a client that sends no more in a body", Send((post("s", b"two")[:-1],)), Finish(), Rest()
    ),
    _made("a head that does not come", Send((READ[:30],)), Rest(), stage=SHORT_HEADS),
    _made("a head whose second does not come", READ, More(READ[:30]), Rest(), stage=SHORT_HEADS),
    _made("a connection that says nothing after its answer", READ, Rest(), stage=SHORT_REST),
    *(
        _made(name, Send((sent,)), Answers(), Rest(), stage=SHORT_BODIES)
        for name, sent in (
            ("a body that does not come", post("s", b"two")[:-1]),
            ("chunks that do not come", CHUNKED + b"3\r\ntw"),
        )
    ),
]

BODIES = [
    _made("chunks", CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n"),
    _made("chunks in capitals", CHUNKED.replace(b"chunked", b"Chunked") + b"3\r\ntwo\r\n0\r\n\r\n"),
    _made("chunks with an extension", CHUNKED + b"3;a=b\r\ntwo\r\n0\r\n\r\n"),
    _made("chunks with a trailer", CHUNKED + b"3\r\ntwo\r\n0\r\nX: y\r\n\r\n"),
    _made("chunks of nothing", CHUNKED + b"0\r\n\r\n"),
    _made(
        "chunks in parts",
        Parts((CHUNKED, b"3\r\ntw", b"o\r\n2\r", b"\n!!\r\n0\r\n", b"\r\n")),
        Answers(),
    ),
    _made(
        "chunks byte by byte",
        Parts(tuple(CHUNKED[at : at + 1] for at in range(len(CHUNKED))), is_shown=False),
        Parts(tuple(bytes([byte]) for byte in b"3\r\ntwo\r\n0\r\n\r\n"), is_shown=False),
        Answers(),
    ),
    _made("chunks of a bad size", CHUNKED + b"x\r\ntwo\r\n0\r\n\r\n"),
    _made("chunks of a negative size", CHUNKED + b"-1\r\n"),
    _made("chunks of an immense size", CHUNKED + b"fffffffffffffffff\r\n"),
    _made("chunks that are longer than they say", CHUNKED + b"1\r\ntwo\r\n0\r\n\r\n"),
    _made("chunks that are too long", CHUNKED + b"900\r\n" + b"x" * 0x900 + b"\r\n0\r\n\r\n"),
    _made("chunks that the client leaves", Send((CHUNKED + b"3\r\ntw",)), Finish(), Rest()),
    _made("chunks and a length", post("s", b"two", "Transfer-Encoding: chunked")),
    _made(
        "chunks in HTTP/1.0", CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"3\r\ntwo\r\n0\r\n\r\n"
    ),
    _made("chunks of a read", get("s?offset=-1", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    _made(
        "chunks of a creation",
        CHUNKED.replace(b"POST", b"PUT").replace(b"/s ", b"/n ") + b"3\r\ntwo\r\n0\r\n\r\n",
    ),
    _made(
        "chunks and a request behind", Send((CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n", READ)), Answers()
    ),
    _made(
        "a coding that is not known", CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n"
    ),
    _made("a coding that is none", CHUNKED.replace(b"chunked", b"") + b"0\r\n\r\n"),
    _made("identity as a coding", CHUNKED.replace(b"chunked", b"identity")),
    _made(
        "two codings",
        CHUNKED.replace(b"chunked", b"chunked\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    ),
    *(
        _made(name, _head(HOST, TEXT, *lengths, line=f"POST {PREFIX}/s HTTP/1.1") + body)
        for name, lengths, body in (
            ("a length that is none", ["Content-Length: x"], b""),
            ("a negative length", ["Content-Length: -1"], b""),
            ("a signed length", ["Content-Length: +1"], b"x"),
            ("two lengths that agree", ["Content-Length: 1", "Content-Length: 1"], b"x"),
            ("two lengths that do not", ["Content-Length: 1", "Content-Length: 2"], b"xx"),
            ("a list of lengths", ["Content-Length: 1, 1"], b"x"),
            ("an append without a length", [], b""),
        )
    ),
    _made("an append in two parts", Parts((post("s", b"twenty")[:-4], b"enty")), Answers()),
    _made(
        "an append whose head comes in parts",
        Parts((post("s", b"two")[:40], post("s", b"two")[40:])),
        Answers(),
    ),
    _made("a read in two parts", Parts((READ[:40], READ[40:])), Answers()),
    _made(
        "a read byte by byte",
        Parts(tuple(READ[at : at + 1] for at in range(len(READ))), is_shown=False),
        Answers(),
    ),
    _made(
        "Expect, then the body",
        Parts((post("s", b"two", EXPECT)[:-3],)),
        More(b"two"),
        Answers(),
    ),
    _made("Expect with the body", post("s", b"two", EXPECT)),
    _made("Expect of a read", get("s?offset=-1", EXPECT)),
    _made(
        "Expect of what is too long",
        Parts((post("s", b"x" * 2049, EXPECT)[:-2049],)),
        Answers(leaves=True),
    ),
    _made(
        "Expect of what is not served",
        Parts((post("/elsewhere", b"two", EXPECT)[:-3],)),
        Answers(leaves=True),
    ),
    _made(
        "Expect of no stream",
        Parts((post("nothing", b"two", EXPECT)[:-3],)),
        More(b"two"),
        Answers(),
    ),
    _made(
        "Expect in HTTP/1.0",
        request("POST", "s", TEXT, EXPECT, body=b"two", version="1.0"),
    ),
    _made("Expect of something else", post("s", b"two", "Expect: 200-maybe")),
    _made(
        "Expect of chunks",
        Parts((CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n",)),
        More(b"3\r\ntwo\r\n0\r\n\r\n"),
        Answers(),
    ),
    _made(
        "a refused body that still comes",
        Parts((request("PATCH", "s", "Content-Length: 4"),)),
        Answers(),
        More(b"body"),
    ),
    _made("a body to an unknown route", post("/elsewhere", b"x" * 500)),
    _made("a long body to an unknown route", Send((post("/elsewhere", b"x" * 3000),)), Answers()),
    _made("a body that is too long by far", Send((post("s", b"x" * 100_000),)), Answers()),
    _made(
        "a body said to be too long", Send((post("s", b"x" * 3000)[:-2990],)), Answers(leaves=True)
    ),
]

EXCHANGES = [*METHODS, *TARGETS, *HEADS, *CONNECTIONS, *BODIES]

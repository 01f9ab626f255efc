"""The lines that calls write, in each form, equal those that were recorded.

`log_lines.json` was recorded of structlog 26.1, which programs that read the log were written for.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FORMS = {"json": "json", "text": "console", "colored text": "console"}  # and the setting's word
RECORDED = Path(__file__).with_name("log_lines.json")

PRELUDE = """
import asyncio, datetime, decimal, enum, logging, os, pathlib, sys, warnings
import msgspec
from aiohttp.log import server_logger, web_logger
from headgate_gateway.telemetry import logs
from headgate_gateway.telemetry.access_log import AccessLog, LoggedRequest, Outcome

form, setting, table = sys.argv[1], sys.argv[2], msgspec.json.decode(sys.argv[3])
os.environ.pop("NO_COLOR", None)
sys.stderr.isatty = lambda: form == "colored text"

class Opaque:
    def __repr__(self):
        return "<opaque\\n>"

class Unspeakable(Exception):
    def __str__(self):
        raise ValueError

def request(**changed):
    asked = {"method": "GET", "target": "/v1/stream/a?token=x", "client": "192.0.2.1"}
    asked |= {"forwarded_for": None, "user_agent": None}
    ended = {"request_id": "r-1", "status": 200, "size": 12, "duration_s": 0.12345678}
    ended |= {"cache": "HIT", "route": "/v1/stream", "ended": "answered"}
    for name, value in changed.items():
        (asked if name in asked else ended)[name] = value
    AccessLog("info").line(LoggedRequest(**asked), Outcome(**ended))

names = {**globals(), "log": logs.log, "root": logging.getLogger()}
logs.configure("info", setting, unwritten_events={"unwritten"})
for name, call in table.items():
    os.write(2, b"\\0" + name.encode() + b"\\0")
    exec(compile(call, "<call>", "exec"), dict(names))
"""

CALLS = {
    # Fields of every type.
    "no field": "log.info('server.stopped')",
    "a number and a name": "log.warning('tls.files_refused', file='a.pem', after_s=0.5)",
    "a name of a field that sorts first": "log.error('b', z=1, a=2, M=3)",
    "an event that is longer than its column": f"log.info('{'long.' * 9}')",
    "text that needs quotes": """log.info('x', a='a b', b='=', c="it's", d='"', e='', f='\\\\')""",
    "text beyond ASCII": "log.info('x', name='café ☃ \\U0001f600')",
    "control characters": "log.info('x', name='a\\x00\\x1b[31m\\r\\n\\t\\x7f\\x9b')",
    "marks that turn text around": "log.info('x', a='a\\u202eb\\u2066c\\u2028d', b=['\\u202e'])",
    "control characters in an event": "log.info('a\\x1b[2Jb\\nc')",
    "lone surrogates": "log.info('x', name='\\ud800', others=['\\udfff'], it={'\\udc80': 1})",
    "numbers that JSON lacks": "log.info('x', a=float('nan'), b=float('inf'), c=-float('inf'))",
    "numbers": "log.info('x', a=10**30, b=-0.0, c=1e300, d=0.1, e=True, f=None)",
    "nested dicts": "log.info('x', it={'b': {'c': [1, {'d': None}]}, 'a': {}}, more=[[], ()])",
    "keys that are not text": "log.info('x', it={1: 'a', None: 'b', True: 'c', 0.5: 'd'})",
    "values that are not JSON": """log.info(
        'x', a={1}, b=b'\\xff\\n', c=pathlib.Path('/a'), d=datetime.date(2026, 1, 2), e=Opaque(),
        f=decimal.Decimal('1.50'), g=1j, h=int,
    )""",
    "values that are not JSON in a list": "log.info('x', it=[b'a', {'b': Opaque()}, range(3)])",
    "an exception as a field": "log.error('x', reason=OSError(2, 'No such file'))",
    "members of enumerations": """
Text, Number = enum.StrEnum('Text', ['ONE']), enum.IntEnum('Number', ['ONE'])
log.info('x', text=Text.ONE, number=[Number.ONE])""",
    "percent signs in an event and a field": "log.info('50 %s', done='%d')",
    "fields that are called as parts of a line": "log.info('x', ts=1, logger=3, worker=4)",
    # Levels.
    "a level that is not written": """
logs.set_level('error'); log.warning('x'); logs.set_level('info')""",
    "an event that is not written": "log.error('unwritten', a=1)",
    # Exceptions.
    "an exception": """
try:
    1 / 0
except ZeroDivisionError:
    log.exception('request.failed', path='/a')""",
    "an exception with causes": """
try:
    try:
        try:
            {}['a']
        except KeyError as cause:
            raise OSError(5, 'gone') from cause
    except OSError:
        int('b')
except ValueError:
    log.exception('request.failed')""",
    "an exception without its context": """
try:
    try:
        1 / 0
    except ZeroDivisionError:
        raise ValueError('b') from None
except ValueError as error:
    log.error('request.failed', exc_info=error, z=1)""",
    "a group of exceptions with a note": """
error = ValueError('a\\nb')
error.add_note('noted')
log.error('x', exc_info=ExceptionGroup('several', [error, OSError(2, 'No such file')]))""",
    "an exception with control characters": "log.error('x', exc_info=ValueError('a\\x1b\\ud800'))",
    "an exception that has no text": "log.error('x', exc_info=Unspeakable())",
    "an exception as three values": "log.error('x', exc_info=(OSError, OSError(1, 'a'), None))",
    "no exception where one is logged": "log.exception('x')",
    "no exception to log": "log.error('x', exc_info=None, a=1)",
    # Lines of libraries.
    "arguments of a library": "logging.getLogger('b').warning('%s of %5.1f %%', 'a\\n', 2.25)",
    "named arguments of a library": "root.error('%(b)s and %(a)d', {'a': 1, 'b': 'c'})",
    "no arguments of a library": "root.error('100 %')",
    "an object in place of a message": "root.error(OSError(2, 'No such file'))",
    "extra values of a library": "root.error('x', extra={'a': 1, 'level': 2})",
    "a level of a library": "root.log(25, 'a'), root.critical('b')",
    "a level of a library that is not written": "logging.getLogger('b').debug('a')",
    "an error of aiohttp's server": """
try:
    raise ConnectionResetError('a\\x1b')
except ConnectionResetError as error:
    server_logger.error('Error handling request from %s', '::1', exc_info=error)""",
    "a warning of aiohttp": "web_logger.warning('Unclosed %r', 'a')",
    "a line of aiohttp's access log": "logging.getLogger('aiohttp.access').info('GET /?token=1')",
    "a complaint of asyncio": """
async def complain():
    error = RuntimeError('b')
    context = {'message': 'never retrieved', 'exception': error, 'what': 'a'}
    asyncio.get_running_loop().call_exception_handler(context)
asyncio.run(complain())""",
    "a warning of Python": "warnings.warn('old')",
    "a deprecation with control characters": "warnings.warn('a\\x1bb', FutureWarning)",
    # Requests, whose lines are made of text.
    "a request": "request()",
    "a request with all fields": """request(
        forwarded_for='::1, "a"', user_agent='caf\\u00e9 \\u2028 \\x1b[31m \\udcff',
        principal='p q', refused='late', client=None, cache='', route='',
        target='/\\x7f?a=\\udcff&key=b',
    )""",
    # Of a worker.
    "a worker": "logs.add_fields(worker=2); logs.configure('info', setting); log.info('x', z=1)",
    "a line of a library in a worker": "logging.getLogger('b').warning('a')",
    "a field of a worker in a worker": "log.error('worker.ended', worker=3, reason='a')",
    "an exception in a worker": "log.error('x', exc_info=OSError(1, 'a'), zone='b')",
    "a request to a worker": "request(principal='p')",
    "a request without the short cut": "logs._written = None; request(principal='p')",
}


def written(form: str) -> dict[str, str]:
    """Return what each call writes in a form, with TS in place of its time."""
    program = [sys.executable, "-c", PRELUDE, form, FORMS[form], json.dumps(CALLS)]
    done = subprocess.run(program, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TS", done.stderr.decode())
    _, *parts = text.split("\0")
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("form", FORMS)
def test_each_call_writes_the_lines_that_were_recorded(form: str) -> None:
    recorded = json.loads(RECORDED.read_text())
    assert written(form) == {name: lines[form] for name, lines in recorded.items()}

"""A year of operation by a clock that runs ahead: new certificates, new tokens, rotated logs."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings.reading.token_hashes import token_digest, written_digest
from tests.support.certificates import Authority
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate
from tests.support.waiting import wait_until
from tests.support.wall_clock import DAY_S, WallClock
from tests.tls.served import STREAM, TEXT, Answer, SecureHeadgate, ask_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.certificates import Pair

# In six weeks each token and certificate is renewed, overlaps with the next one and expires.
WEEKS = 52 if IS_WHOLE else 6
DAYS = 7
OVERLAP_DAYS = 2  # for which the token and the certificate of the week before are still valid


class Deployment:
    """A server with TLS, a file of tokens and a log file, whose clock is set week by week."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = WallClock(folder)
        self._tokens: list[tuple[str, str]] = []  # each with its expiry
        self.week = 0
        authority = Authority.of(folder)
        paths = self._certificate(authority).write(folder)
        self.add_token()
        self.credentials = {"Authorization": f"Bearer {self._tokens[0][0]}"}
        server = Headgate(
            environment={
                **self._clock.environment,
                **paths.settings(),
                "HEADGATE_AUTH": "tokens",
                "HEADGATE_CREDENTIALS__TOKENS_FILE": str(folder / "tokens.toml"),
                "HEADGATE_LOG__REQUESTS": "info",
                "HEADGATE_LIMITS__MAX_LOOP_LAG": "0",
                # Far below the time that a client waits for an answer, also on a busy machine.
                "HEADGATE_LIVE__LONG_POLL_TIMEOUT": "5",
            }
        )
        self.secure = SecureHeadgate(server, authority, paths)
        self.log = server.log_file

    def ask(self, method: str, query: str = "", body: bytes = b"") -> Answer:
        """Send a request with the token in use on a connection of its own."""
        return self.secure.ask(method, f"{STREAM}{query}", body, {**TEXT, **self.credentials})

    def next_week(self) -> None:
        """Set the clock a week ahead, renew certificate and token, and rotate the log."""
        self.week += 1
        self._clock.set(self.week * DAYS * DAY_S)
        self._certificate(self.secure.authority).replace(self.secure.paths)
        self.add_token()
        shutil.copy(self.log, self._folder / f"log.{self.week}")
        with self.log.open("r+b") as log:
            log.truncate()

    def uses_the_newest(self) -> bool:
        """Return whether the newest certificate is served and token accepted, and use that."""
        newest = {"Authorization": f"Bearer {self._tokens[-1][0]}"}
        answer = self.secure.ask("HEAD", STREAM, headers=newest)
        if answer.status == 200 and answer.serial == self._serial:
            self.credentials = newest
            return True
        return False

    def log_of(self, week: int) -> bytes:
        """Return the lines that were in the log when it was rotated."""
        return (self._folder / f"log.{week}").read_bytes()

    def add_token(self) -> None:
        """Write a new token, the former one and none that has expired into the file."""
        token = f"token-of-week-{self.week:04}-{'x' * 16}"
        lifetime_s = (DAYS + OVERLAP_DAYS) * DAY_S
        self._tokens = [*self._tokens[-1:], (token, self._clock.time_in(lifetime_s))]
        tables = [
            f'[[tokens]]\nname = "week-{number}"\nexpires = {expires}\n'
            f'token = "{written_digest(token_digest(token))}"\n'
            'grants = [{ streams = "/v1/stream/*", operations = ["create", "append", "read"] }]\n'
            for number, (token, expires) in enumerate(self._tokens)
        ]
        new = self._folder / "tokens.new"
        new.write_text("\n".join(tables))
        new.chmod(0o600)
        new.rename(self._folder / "tokens.toml")

    def _certificate(self, authority: Authority) -> Pair:
        pair = authority.issue(days=self.week * DAYS + DAYS + OVERLAP_DAYS)
        self._serial = pair.serial
        return pair


@contextmanager
def running(*works: Callable[[], None]) -> Iterator[list[str]]:
    """Run each again and again in a thread of its own; yield the list of their failures."""
    stop, failures = threading.Event(), list[str]()

    def run(work: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                work()
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class LongPoller:
    """A reader that follows the stream by long-polls."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._query = "?offset=-1"
        self.received = b""
        self.polls = 0  # that have begun

    def poll(self) -> None:
        """Send the next request."""
        self.polls += 1
        answer = self._deployment.ask("GET", self._query)
        assert answer.status in {200, 204}, answer
        self.received += answer.body
        offset = answer.headers["Stream-Next-Offset"]
        cursor = answer.headers.get("Stream-Cursor", "")
        self._query = f"?offset={offset}&live=long-poll&cursor={cursor}"


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)
def test_no_request_fails_in_a_year_of_renewals_expiries_and_rotations(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    server = deployment.secure.server
    try:
        server.start()
        assert deployment.ask("PUT").status == 201
        reads = 0

        def read() -> None:
            nonlocal reads
            answer = deployment.ask("GET", "?offset=-1")
            assert answer.status == 200, answer
            reads += 1

        written, poller = b"", LongPoller(deployment)
        with deployment.secure.connect() as kept, running(read, poller.poll) as failures:
            for _ in range(WEEKS):
                deployment.next_week()
                wait_until(deployment.uses_the_newest, "all is renewed", server.output)
                begun = reads, poller.polls
                text = f"week {deployment.week}\n".encode()
                assert deployment.ask("POST", body=text).status == 204
                written += text
                answer = ask_on(kept, "GET", f"{STREAM}?offset=-1", headers=deployment.credentials)
                assert (answer.status, answer.body) == (200, written)
                # Else a thread that is held up would send the credentials of two weeks ago.
                wait_until(
                    lambda begun=begun: reads > begun[0] + 1 and poller.polls > begun[1],  # type: ignore[misc]
                    "both have begun a request with the credentials of this week",
                )
            wait_until(lambda: poller.received == written, "the follower has all")
        assert failures == []
        assert reads >= WEEKS
        for week in range(2, WEEKS + 1):
            lines = deployment.log_of(week)
            assert lines.count(b'"request_id"') > 0
            assert b"\0" not in lines  # as behind a truncated end, without O_APPEND
    finally:
        server.close()

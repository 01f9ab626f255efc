"""A worker that is killed between the two steps of a reload: all are on one configuration."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.reloading.test_reload_of_workers import Configured
from tests.reloading.test_tls_paths import TRIES, serial, tls
from tests.support.certificates import Authority
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_refused", [False, True], ids=["in force", "refused"])
def test_a_worker_killed_behind_its_preparation_leaves_all_on_one_configuration(
    tmp_path: Path, *, is_refused: bool
) -> None:
    authority = Authority.of(tmp_path)
    old, new = authority.issue(), authority.issue()
    before, after = old.write(tmp_path, "old"), new.write(tmp_path, "new")
    after.key.chmod(0o644)  # which a worker logs as it prepares the reload
    at = Configured(tmp_path, 2)
    at.write("/a", **tls("", before))
    try:
        at.server.start()
        wait_until(at.server.is_ready, "all workers serve")
        wait_until(lambda: len(at.server.told("worker.started")) == 2, "both have started")
        slow, killed = at.server.workers().values()
        os.kill(slow, signal.SIGSTOP)  # so that the reload waits for it
        try:
            with ThreadPoolExecutor(1) as pool:
                at.write("/a", **tls("", after))
                reload = pool.submit(at.reload)
                wait_until(
                    lambda: at.server.told("tls.key_open") != [], "the other one has prepared"
                )
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda: killed not in at.server.workers().values(), "it has ended")
                if is_refused:
                    after.key.unlink()
                os.kill(slow, signal.SIGCONT)
                assert reload.result().returncode == int(is_refused)
        finally:
            os.kill(slow, signal.SIGCONT)
        wait_until(at.server.is_ready, "both serve")
        served = {serial(authority, at.server.port) for _ in range(TRIES)}
        assert served == {(old if is_refused else new).serial}
    finally:
        at.server.close()

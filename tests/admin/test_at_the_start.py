"""The console in the first seconds of a gateway."""

from __future__ import annotations

import pytest

from tests.support.http1 import ask
from tests.support.processes import Headgate


@pytest.mark.usefixtures("processes")
def test_the_overview_of_a_ready_server_shows_serving_and_not_starting() -> None:
    gateway = Headgate()
    try:
        gateway.start()
        overview = ask(gateway.admin_port, "GET", "/api/v1/overview", Accept="application/json")
        assert overview.status == 200
        assert b"starting" not in overview.body
        assert b'"serving"' in overview.body
    finally:
        gateway.close()

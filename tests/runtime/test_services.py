"""The parts that all routes of a process share are made once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from headgate_gateway import app
from tests.support.manual_clock import ManualClock
from tests.support.serving import DEFAULTS


def test_no_part_of_the_services_can_be_replaced_or_added() -> None:
    services = app.make_services(DEFAULTS, ManualClock())
    for name in [field.name for field in fields(services)]:
        with pytest.raises(FrozenInstanceError):
            setattr(services, name, None)
    with pytest.raises((FrozenInstanceError, TypeError)):
        services.more = None  # type: ignore[attr-defined] # as a late setter would


def test_a_reload_renews_timeouts_hosts_and_log_in_place() -> None:
    services = app.make_services(DEFAULTS, ManualClock())
    parts = services.timeouts, services.hosts, services.log
    assert services.hosts.serves("other.example")
    new = DEFAULTS.but(
        http={"body_timeout": 3.0, "hosts": ("a.example",)}, log={"level": "warning"}
    )
    app.reconfigure(services, new)
    assert parts == (services.timeouts, services.hosts, services.log)
    assert services.timeouts.body == 3.0
    assert not services.hosts.serves("other.example")

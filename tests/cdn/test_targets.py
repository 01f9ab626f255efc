"""The targets that are said to be run are those that run here."""

from __future__ import annotations

from headgate_cdn.targets import TARGETS
from tests.support.proxy_engines import ENGINES


def test_the_targets_marked_as_run_are_exactly_those_the_suite_runs() -> None:
    parts = {part for name in ENGINES for part in TARGETS[name].beside}
    # And by tests/cdn/test_ingress_nginx.py.
    run = {
        *ENGINES,
        "ingress-nginx",
        *(part for part in parts if TARGETS[part].state != "run by hand"),
    }
    assert {name for name, target in TARGETS.items() if target.state == "run"} == run

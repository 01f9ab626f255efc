"""A real Prometheus that scrapes gateways, evaluates their rules, and is asked what fires."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.support.processes import Headgate


class Firing(NamedTuple):
    """An alert that fires, and the route that it is about, if it is about one."""

    name: str
    severity: str
    route: str


class Prometheus:
    """A running Prometheus, known by its port."""

    def __init__(self, port: int) -> None:
        self._port = port

    def _ask(self, question: str) -> Any:
        answer = ask(self._port, "GET", f"/api/v1/{question}")
        assert answer.status == 200, answer
        return answer.json()["data"]

    def value(self, query: str) -> float | None:
        """Return the value of an expression, or None where there is not exactly one."""
        found = self._ask(f"query?query={quote(query)}")["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def firing(self) -> set[Firing]:
        """Return the alerts that fire now."""
        return {
            Firing(labels["alertname"], labels["severity"], labels.get("route", ""))
            for alert in self._ask("alerts")["alerts"]
            if alert["state"] == "firing"
            for labels in [alert["labels"]]
        }

    def fired(self, route: str) -> set[str]:
        """Return the names of the alerts on a route that have fired at any time."""
        selector = f'ALERTS{{alertstate="firing", route="{route}"}}'
        found = self._ask(f"series?match[]={quote(selector)}")
        return {labels["alertname"] for labels in found}

    def unhealthy_rules(self) -> list[tuple[str, str]]:
        """Return the rules that cannot be evaluated, each with the reason."""
        rules = [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]
        return [(it["name"], it.get("lastError", "")) for it in rules if it["health"] != "ok"]

    def evaluate_again(self) -> None:
        """Wait until all rules were evaluated on what has been scraped by now, twice."""
        for _ in range(2):
            before = self._evaluated_at()
            wait_until(lambda before=before: self._evaluated_at() != before)  # type: ignore[misc] # bound

    def _evaluated_at(self) -> list[str]:
        return [group["lastEvaluation"] for group in self._ask("rules")["groups"]]


@contextlib.contextmanager
def prometheus(
    folder: Path, rules: str, *gateways: Headgate, at_once: Collection[str] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes each second, which is also how long it waits for an answer.

    The alerts `at_once` fire as soon as their expression has a result; the others take their time.
    """
    for name in at_once:
        rules, replaced = re.subn(
            rf'(- alert: "{name}"\n +expr: .*\n +for: )"\w+"', r'\1"0s"', rules
        )
        assert replaced, name
    (folder / "rules.yaml").write_text(rules)
    targets = [f"127.0.0.1:{gateway.admin_port}" for gateway in gateways]
    configuration = folder / "prometheus.yml"  # JSON is YAML, too
    configuration.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "500ms"},
                "rule_files": [str(folder / "rules.yaml")],
                "scrape_configs": [
                    {"job_name": "headgate", "static_configs": [{"targets": targets}]}
                ],
            }
        )
    )
    port = free_port()
    log = folder / "prometheus.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=written,
            stderr=written,
        )
    try:
        asked = Prometheus(port)
        wait_until(
            lambda: process.poll() is not None or _scrapes(asked, len(targets)),
            "Prometheus to scrape",
            log.read_text,
        )
        assert process.poll() is None, log.read_text()
        yield asked
    finally:
        process.terminate()
        process.wait()


def _scrapes(asked: Prometheus, targets: int) -> bool:
    try:
        return asked.value("sum(up)") == targets
    except (OSError, AssertionError):  # it does not listen yet, or is not ready
        return False

"""Prometheus' own checker, which also plays rules on made-up series."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from headgate_gateway.monitoring.files import rules_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from headgate_gateway.settings import Settings

DEADLINE_S = 150  # all cases together take 15 s on a quiet machine, and many more on a busy one
# It lives for seconds: to look for garbage seldom saves a fifth of its time.
FOR_SECONDS = {"GOGC": "400"}


def promtool(*arguments: str | Path) -> None:
    """Run it; what it finds fault with is the error."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)],
        env={**os.environ, **FOR_SECONDS},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def play(settings: Settings, tests: Iterable[dict[str, Any]], interval: str, folder: Path) -> None:
    """Play tests of rules, each with the rules that read one of its series.

    The others would have nothing to evaluate, and take nine tenths of the time.
    """
    (group,) = yaml.safe_load(rules_file(settings))["groups"]
    files: dict[str, list[object]] = {}
    for test in tests:
        names = {it["series"].partition("{")[0] for it in test["input_series"]}
        rules = list(_rules_about(names, group["rules"]))
        text = json.dumps({"groups": [{"name": "headgate", "rules": rules}]})  # JSON is YAML, too
        files.setdefault(text, []).append(test)
    played = []
    for number, (text, of_rules) in enumerate(files.items()):
        rules_path, path = folder / f"rules-{number}.yaml", folder / f"tests-{number}.yaml"
        rules_path.write_text(text)
        head = {"rule_files": [str(rules_path)], "evaluation_interval": interval}
        path.write_text(json.dumps({**head, "tests": of_rules}))
        played.append(path)
    promtool("test", "rules", *played)


def _rules_about(names: set[str], rules: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rules that read one of these series, or what is recorded of them."""
    for rule in rules:  # those that record are the first
        is_constant = rule["expr"].startswith("vector(")
        if is_constant or not names.isdisjoint(re.findall(r"[\w:]+", rule["expr"])):
            yield rule
            if not is_constant:
                names.add(rule.get("record", ""))


def check_expressions(expressions: list[str], folder: Path) -> None:
    """That each is PromQL."""
    rules = [{"record": f"r{number}", "expr": expr} for number, expr in enumerate(expressions)]
    written = folder / "expressions.yaml"  # JSON is YAML, too
    written.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
    promtool("check", "rules", written)

"""What a forge shows and reads: forms, labels, who updates what, and the first lines of README."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.commands.doctor.examine import debug
from tests.conformance.test_conformance import PASSED, SUBSCRIPTION_TESTS
from tests.support.processes import ROOT

GITHUB = ROOT / ".github"
FORMS = [GITHUB / "ISSUE_TEMPLATE/bug.yml", GITHUB / "ISSUE_TEMPLATE/idea.yml"]
RENOVATE = json.loads((GITHUB / "renovate.json").read_text())
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-issue-forms", FORMS),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE/config.yml"]),
        ("github-workflows", WORKFLOWS),
        ("renovate", [GITHUB / "renovate.json"]),
    ],
    ids=["forms", "chooser", "workflows", "renovate"],
)
def test_what_a_forge_reads_is_valid_by_its_schema(schema: str, files: list[Path]) -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", f"vendor.{schema}", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_file_is_left_out_where_the_schemas_are_asked() -> None:
    asked = {*FORMS, *WORKFLOWS, GITHUB / "ISSUE_TEMPLATE/config.yml", GITHUB / "renovate.json"}
    others = {"CODEOWNERS", "PULL_REQUEST_TEMPLATE.md", "labels.yml"}
    assert {path for path in GITHUB.rglob("*") if path.is_file()} == {
        *asked,
        *(GITHUB / name for name in others),
    }


def test_the_labels_are_those_that_forms_and_updates_set() -> None:
    labels = yaml.safe_load((GITHUB / "labels.yml").read_text())
    used = [label for form in FORMS for label in yaml.safe_load(form.read_text())["labels"]]
    assert [label["name"] for label in labels] == [*used, *RENOVATE["labels"]]
    for label in labels:
        assert re.fullmatch(r"[0-9a-f]{6}", label["color"])
        assert 0 < len(label["description"]) <= 100  # GitHub takes no longer ones


def test_a_report_of_a_fault_asks_for_the_archive_that_a_command_writes() -> None:
    asked = " ".join(FORMS[0].read_text().split())
    for command in re.findall(r"`headgate ([a-z ]+)`", asked):
        assert CliRunner().invoke(cli, [*command.split(), "--help"]).exit_code == 0, command
    (archive,) = (one.default for one in debug.params if one.name == "file")
    assert "headgate doctor debug" in asked
    assert f"`{archive}`" in asked


def test_the_pages_that_forms_name_are_there() -> None:
    named = [
        name[0].strip("`")
        for path in (*FORMS, GITHUB / "PULL_REQUEST_TEMPLATE.md")
        for name in re.finditer(r"\b[\w/]+\.md\b|`\w+/`", path.read_text())
    ]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_actions_and_npm_are_updated_in_every_folder_and_nothing_else_is() -> None:
    assert RENOVATE["enabledManagers"] == ["github-actions", "npm"]
    # Only these would keep it from a folder. Of itself it keeps from node_modules alone.
    assert RENOVATE.keys() & {"extends", "ignorePaths", "ignorePresets", "includePaths"} == set()
    grouped = {
        manager
        for rule in RENOVATE["packageRules"]
        if "groupName" in rule
        for manager in rule["matchManagers"]
    }
    assert grouped == set(RENOVATE["enabledManagers"])


def test_actions_are_pinned_by_commit_with_the_version_beside_it() -> None:
    used = [
        line
        for path in WORKFLOWS
        for line in path.read_text().splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    assert used
    pinned = re.compile(r"\s*(- )?uses: [\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in used if not pinned.fullmatch(line)] == []


def test_the_facts_below_the_first_sentence_of_the_readme_are_so() -> None:
    facts = (ROOT / "README.md").read_text().split("\n\n")[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minors = [int(minor) for minor in re.findall(r":: 3\.(\d+)", " ".join(project["classifiers"]))]
    assert minors == [*range(minors[0], minors[-1] + 1)]
    told = re.findall(r"\[([^]]+)\]\((?!https:)", facts)
    assert told == [
        project["license"],
        f"Python 3.{minors[0]} to 3.{minors[-1]}",
        f"{PASSED + SUBSCRIPTION_TESTS} of {PASSED + SUBSCRIPTION_TESTS} tests",
    ]
    assert project["requires-python"] == f">=3.{minors[0]}"

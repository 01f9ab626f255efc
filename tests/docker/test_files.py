"""The files in docker/ are such as their readers take, as far as it shows without containers."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.settings import load
from scripts.release.debs import BUILD_PACKAGES
from tests.docker.image_file import DOCKER, instructions
from tests.docker.machine import Machine, compose, read_yaml
from tests.monitoring.promtool import promtool

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOLS = Path(sys.executable).parent
SERVICES = compose()["services"]


def assert_passes(tool: str, *arguments: str | Path) -> None:
    command: Sequence[str | Path] = [TOOLS / tool, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.usefixtures("processes")
def test_the_dockerfile_passes_its_linter() -> None:
    assert_passes("hadolint", DOCKER / "Dockerfile")


def test_the_image_and_the_debian_packages_leave_out_the_same_build_packages() -> None:
    (removed,) = re.findall(r"/opt/headgate uninstall --yes (.+)", "\n".join(instructions("RUN")))
    assert removed.split() == list(BUILD_PACKAGES)


@pytest.mark.usefixtures("processes")
def test_the_compose_file_matches_its_schema() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert_passes("check-jsonschema", *schema, DOCKER / "compose.yaml")


def test_the_compose_gateway_trusts_only_container_networks_as_proxies() -> None:
    told = SERVICES["gateway"]["environment"]["HEADGATE_HTTP__TRUSTED_PROXIES"]
    trusted = load(None, {"HEADGATE_HTTP__TRUSTED_PROXIES": told}, {}).http.trusted_proxies
    assert [str(network) for network in trusted] == ["172.16.0.0/12", "192.168.0.0/16"]
    assert not any(port.endswith(":4437") for port in SERVICES["gateway"]["ports"])


@pytest.mark.usefixtures("processes")
def test_prometheus_accepts_its_compose_configuration(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.place("prometheus")
    promtool("check", "config", machine.file("/etc/prometheus/prometheus.yml"))


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("monitor alerts", "prometheus/rules.yaml"),
        ("monitor grafana", "grafana/dashboards/headgate.json"),
        pytest.param(
            "cdn render nginx --standalone --upstream gateway:4437 --cache-size 256MiB",
            "nginx/headgate.conf",
            id="nginx",
        ),
    ],
)
def test_generated_docker_files_equal_the_output_of_their_commands(command: str, file: str) -> None:
    storage = SERVICES["gateway"]["environment"]["HEADGATE_STORAGE"]
    printed = CliRunner().invoke(cli, command.split(), env={"HEADGATE_STORAGE": storage}).stdout
    told = f"HEADGATE_STORAGE={storage} headgate {command} > docker/{file}"
    assert (DOCKER / file).read_text() == printed, told


def test_the_image_runs_as_a_user_and_without_a_shell() -> None:
    assert instructions("USER") == ["10001"]
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["headgate"]
    assert json.loads(instructions("CMD")[0]) == ["serve"]
    (check,) = instructions("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["headgate", "doctor", "health"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_compose_service_is_read_only_except_its_data(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    mounted = [volume for volume in service.get("volumes", ()) if volume.startswith("./")]
    assert all(volume.endswith(":ro") for volume in mounted)
    assert all((DOCKER / volume.split(":")[0]).exists() for volume in mounted)


@pytest.mark.parametrize("name", SERVICES)
def test_each_compose_service_has_memory_and_log_limits(name: str) -> None:
    service = SERVICES[name]
    folders = [size_of(folder.partition("size=")[2]) for folder in service.get("tmpfs", ())]
    assert sum(folders) < size_of(service["mem_limit"]) <= size_of("1280m")
    log = service["logging"]["options"]
    assert size_of(log["max-size"]) * int(log["max-file"]) == size_of("100m")


def test_compose_redis_reaches_maxmemory_before_its_memory_limit_and_evicts_nothing() -> None:
    redis = SERVICES["redis"]
    options = dict(itertools.pairwise(redis["command"]))
    assert options["--maxmemory-policy"] == "noeviction"
    assert size_of(redis["mem_limit"]) > 2 * size_of(options["--maxmemory"])


def size_of(text: str) -> int:
    """Return the bytes of a size as compose files, tmpfs and Redis have it."""
    number, unit = re.fullmatch(r"(\d+)([mg])b?", text).groups()  # type: ignore[union-attr] # or fail
    return int(number) << {"m": 20, "g": 30}[unit]


def test_compose_memory_limits_exceed_the_cache_sizes_of_the_settings() -> None:
    defaults = load(None, {}, {})
    kept = defaults.limits.cache_size + defaults.limits.max_pending_appends
    assert size_of(SERVICES["gateway"]["mem_limit"]) >= 2 * kept
    edge = re.search(r"max_size=(\d+)", (DOCKER / "nginx/headgate.conf").read_text())
    assert edge is not None
    assert size_of(SERVICES["nginx"]["tmpfs"][0].partition("size=")[2]) > int(edge[1])


def test_only_nginx_is_published_beyond_this_machine_by_compose() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    published = {
        name for name, told in ports.items() if any("127.0.0.1:" not in port for port in told)
    }
    assert published == {"nginx"}
    assert SERVICES["redis"]["networks"] == ["streams"]
    assert {name for name, it in SERVICES.items() if "streams" in it["networks"]} == {
        "redis",
        "gateway",
    }


def test_every_image_has_a_version_tag() -> None:
    images = [it["image"] for it in SERVICES.values() if "build" not in it]
    images += [line.split()[0] for line in instructions("FROM")]
    assert len(images) == 6
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_the_compose_file_contains_no_secret_and_no_default_for_one() -> None:
    assert all(list(secret) == ["environment"] for secret in compose()["secrets"].values())
    text = (DOCKER / "compose.yaml").read_text()
    filled_in = re.findall(r"\$\{(?!REVISION:-)[^}]*\}", text)
    assert len(filled_in) == 3
    assert all(re.match(r"\$\{\w+:\?", one) for one in filled_in)
    words = r"(?i)^.*(?:password|secret|token)(?:_(?:hash|file))*: (?![{[>]|/run/secrets/).+$"
    assert re.findall(words, text, re.MULTILINE) == []


def test_the_compose_grafana_is_provisioned_with_board_and_datasource() -> None:
    service, folder = SERVICES["grafana"], DOCKER / "grafana/provisioning"
    targets = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    (provider,) = read_yaml(folder / "dashboards/headgate.yaml")["providers"]
    source = targets[provider["options"]["path"]]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/headgate.json"
    assert (DOCKER / source / "headgate.json").exists()
    (datasource,) = read_yaml(folder / "datasources/prometheus.yaml")["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    assert "watching" in SERVICES["prometheus"]["networks"]

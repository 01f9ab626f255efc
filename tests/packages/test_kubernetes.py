"""The manifests for Kubernetes: their form, what they refer to, and that their command serves.

No cluster runs here: the schemas are Kubernetes' own, and the command of the container is started
with the settings and probes of the manifests.
"""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from tests.monitoring.promtool import promtool
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE, ROOT, Process, run, start
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ROOT / "packages/kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.30", kubernetes_validate.latest_version())
TOKEN, METRICS, OPERATOR = "f" * 64, "e" * 64, "d" * 64
SELECTING = {"Deployment", "StatefulSet", "PodDisruptionBudget"}


class Manifest(NamedTuple):
    """The resources of one file, by their kinds; the workload runs the container."""

    resources: dict[str, dict[str, Any]]
    workload: dict[str, Any]

    @property
    def pod(self) -> dict[str, Any]:
        found: dict[str, Any] = self.workload["spec"]["template"]["spec"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request: pytest.FixtureRequest) -> Manifest:
    path: Path = request.param
    resources = {it["kind"]: it for it in YAML(typ="safe").load_all(path.read_text())}
    (workload,) = [it for it in resources.values() if "template" in it.get("spec", {})]
    return Manifest(resources, workload)


def test_every_resource_matches_the_schema_of_its_version(manifest: Manifest) -> None:
    for version in VERSIONS:
        for resource in manifest.resources.values():
            kubernetes_validate.validate(resource, version, strict=True)


def test_selectors_match_the_labels_of_the_pods(manifest: Manifest) -> None:
    labels = manifest.workload["spec"]["template"]["metadata"]["labels"]
    selectors = [manifest.resources["Service"]["spec"]["selector"]]
    others = [it["spec"] for it in manifest.resources.values() if it["kind"] in SELECTING]
    others += [{"selector": it["labelSelector"]} for it in spread(manifest)]
    others.append({"selector": manifest.resources["NetworkPolicy"]["spec"]["podSelector"]})
    selectors += [it["selector"]["matchLabels"] for it in others]
    assert len(selectors) == (6 if manifest.workload["kind"] == "Deployment" else 3)
    assert all(selector.items() <= labels.items() for selector in selectors)


def spread(manifest: Manifest) -> list[dict[str, Any]]:
    """Return how the pods are spread over nodes."""
    found: list[dict[str, Any]] = manifest.pod.get("topologySpreadConstraints", [])
    return found


def test_several_pods_are_spread_over_nodes_and_zones_and_start_where_there_is_one(
    manifest: Manifest,
) -> None:
    is_several = manifest.workload["spec"]["replicas"] > 1
    keys = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] if is_several else []
    assert [it["topologyKey"] for it in spread(manifest)] == keys
    assert all(it["whenUnsatisfiable"] == "ScheduleAnyway" for it in spread(manifest))


def test_streams_are_reached_by_everybody_and_the_console_from_one_namespace(
    manifest: Manifest,
) -> None:
    policy = manifest.resources["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress"]  # webhooks and origins are anywhere
    peers = {port["port"]: it.get("from") for it in policy["ingress"] for port in it["ports"]}
    (monitoring,) = peers.pop("admin")
    assert monitoring.keys() == {"namespaceSelector"}
    assert peers == {"streams": None}


def test_ports_volumes_and_settings_that_are_named_are_declared(manifest: Manifest) -> None:
    container = manifest.container
    ports = {it["name"] for it in container["ports"]}
    probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {it["httpGet"]["port"] for it in probes} == {"streams"}
    assert {it["targetPort"] for it in manifest.resources["Service"]["spec"]["ports"]} == ports
    allowed = manifest.resources["NetworkPolicy"]["spec"]["ingress"]
    assert {port["port"] for it in allowed for port in it["ports"]} == ports
    claims = manifest.workload["spec"].get("volumeClaimTemplates", [])
    volumes = {it["name"] for it in manifest.pod["volumes"]}
    volumes |= {it["metadata"]["name"] for it in claims}
    assert {it["name"] for it in container["volumeMounts"]} == volumes
    (settings,) = [it["configMap"]["name"] for it in manifest.pod["volumes"] if "configMap" in it]
    assert settings == manifest.resources["ConfigMap"]["metadata"]["name"]


def test_the_pod_meets_the_restricted_pod_security_standard(manifest: Manifest) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    pod, container = manifest.pod["securityContext"], manifest.container["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == 10001  # that of the image
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True
    kinds = {kind for it in manifest.pod["volumes"] for kind in it if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & manifest.pod.keys()


def test_the_grace_period_is_longer_than_a_drain(manifest: Manifest) -> None:
    (_, pause) = manifest.container["lifecycle"]["preStop"]["exec"]["command"]
    assert manifest.pod["terminationGracePeriodSeconds"] > int(pause) + 10 + 5


class Served(NamedTuple):
    """The ports of the container's command, and how a command in the container is run."""

    port: int
    admin: int
    environment: dict[str, str]
    folder: Path


@pytest.fixture
def served(processes: None, manifest: Manifest, tmp_path: Path) -> Iterator[Served]:
    """Start the command of the container, with its files in a folder of the test's."""
    port, admin = free_port(), free_port()
    hashed = run([HEADGATE, "token", "hash"], TOKEN.encode()).stdout.decode().strip()
    (tmp_path / "tokens.toml").write_text(
        f'[[tokens]]\nname = "all"\ntoken = "{hashed}"\n'
        'grants = [{ streams = "/v1/stream/*", operations = ["create", "append", "read"] }]\n'
    )
    text = manifest.resources["ConfigMap"]["data"]["headgate.toml"]
    text = text.replace("0.0.0.0:4437", f"127.0.0.1:{port}").replace(":4439", f":{admin}")
    text = text.replace("/data/", f"{tmp_path}/").replace("/etc/headgate-tokens", str(tmp_path))
    (tmp_path / "headgate.toml").write_text(text)
    arguments = [it.replace("/etc/headgate/", f"{tmp_path}/") for it in manifest.container["args"]]
    with redis_server(tmp_path / "redis") as redis:
        url = f"redis://127.0.0.1:{redis.port}"
        secrets = {"headgate-admin": {"metrics": METRICS, "operator": OPERATOR}}
        secrets["headgate-redis"] = {"url": url}
        environment = {**os.environ, **AT_ONCE, "XDG_RUNTIME_DIR": str(tmp_path)}
        environment |= environment_of(manifest.container, secrets)
        process: Process = start([HEADGATE, *arguments], environment=environment)
        try:
            path = manifest.container["readinessProbe"]["httpGet"]["path"]
            wait_until(lambda: ask(port, "GET", path).status == 200, "the probe succeeds")
            yield Served(port, admin, environment, tmp_path)
        finally:
            process.kill()
            process.wait()


def environment_of(container: dict[str, Any], secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the variables of a container."""
    found = {}
    for variable in container["env"]:
        found[variable["name"]] = variable.get("value", "")
        if "valueFrom" in variable:
            reference = variable["valueFrom"]["secretKeyRef"]
            found[variable["name"]] = secrets[reference["name"]][reference["key"]]
    return found


def test_the_command_of_the_container_serves_whoever_has_a_token(served: Served) -> None:
    stream = "/v1/stream/s"
    token = f"Bearer {TOKEN}"
    made = ask(served.port, "PUT", stream, b"one", content_type="text/plain", authorization=token)
    assert made.status == 201
    read = ask(served.port, "GET", f"{stream}?offset=-1", authorization=token)
    assert read.body == b"one"
    assert ask(served.port, "GET", f"{stream}?offset=-1").status == 401


def test_prometheus_gets_the_metrics_of_the_pod_with_its_token_alone(served: Served) -> None:
    assert ask(served.admin, "GET", "/metrics").status == 401
    scraped = ask(served.admin, "GET", "/metrics", authorization=f"Bearer {METRICS}")
    assert scraped.status == 200
    assert b"headgate_build_info" in scraped.body
    assert ask(served.admin, "GET", "/metrics", authorization=f"Bearer {TOKEN}").status == 401


@pytest.mark.parametrize(
    "command", [("ls",), ("config", "reload", "--config", "{folder}/headgate.toml")]
)
def test_a_command_in_the_pod_is_admitted_as_an_operator(
    command: tuple[str, ...], served: Served
) -> None:
    words = [it.format(folder=served.folder) for it in command]
    done = run([HEADGATE, *words], environment=served.environment)
    assert done.returncode == 0, (done.stdout, done.stderr)


@pytest.mark.usefixtures("processes")
def test_prometheus_takes_the_configuration_on_the_page_which_names_the_port_of_the_service(
    manifest: Manifest, tmp_path: Path
) -> None:
    page = (ROOT / "docs/installing.md").read_text()
    (block,) = re.findall(r"^    ```yaml\n(    scrape_configs:.*?)^    ```$", page, re.M | re.S)
    (tmp_path / "token").write_text(METRICS)
    made = YAML(typ="safe").load(
        textwrap.dedent(block).replace("/etc/prometheus/headgate-token", str(tmp_path / "token"))
    )
    (job,) = made["scrape_configs"]
    # Debian's Prometheus is built without this discovery.
    assert job.pop("kubernetes_sd_configs") == [
        {"role": "endpointslice", "namespaces": {"names": ["headgate"]}}
    ]
    config = tmp_path / "prometheus.yml"
    with config.open("w") as file:
        YAML(typ="safe").dump(made, file)
    promtool("check", "config", config)
    port = job["relabel_configs"][0]["regex"]
    assert port in {it["name"] for it in manifest.resources["Service"]["spec"]["ports"]}

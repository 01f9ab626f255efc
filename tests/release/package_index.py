"""A package index on a loopback port, where others have published higher versions of our names."""

from __future__ import annotations

import contextlib
import re
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from scripts.release.making import WHEELS

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = ("headgate", "headgate-client", "headgate-doctor")
# One that the requirements of our wheels allow, and one that they do not.
HIGHER = ("0.1.99", "9.9")


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write the wheel of a distribution that has nothing in it and needs nothing."""
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"{stem}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as opened:
        opened.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        opened.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        listed = "".join(f"{about}/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD"))
        opened.writestr(f"{about}/RECORD", listed)


class Index(SimpleHTTPRequestHandler):
    """Lists folders of wheels, and has a wheel for any other name: nobody asks what is in it."""

    @override
    def translate_path(self, path: str) -> str:
        found = Path(super().translate_path(path))
        if not found.exists():
            found.mkdir()
            write_wheel(found, found.name, "99")
        return str(found)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def package_index(folder: Path) -> Iterator[str]:
    """Serve the locked wheels and the higher versions.

    https://packaging.python.org/en/latest/specifications/simple-repository-api/
    """
    for path in WHEELS.glob("*.whl"):
        name = re.sub(r"[-_.]+", "-", path.name.partition("-")[0]).lower()
        (folder / name).mkdir(exist_ok=True)
        (folder / name / path.name).symlink_to(path)
    for name in OURS:
        (folder / name).mkdir()
        for version in HIGHER:
            write_wheel(folder / name, name, version)
    handler = partial(Index, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()

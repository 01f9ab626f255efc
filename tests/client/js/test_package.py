"""The npm package as `npm pack` makes it, installed in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate import encode_multi_chunks
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = ROOT / "client/js"
NPM = NODE.resolve().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
TSC = PACKAGE / "node_modules/typescript/bin/tsc"
CONSUMER = Path(__file__).with_name("consumer")
ENTRIES = {
    "headgate-client": ["FollowError", "encodeMultiChunks", "followRun", "followStream"],
    "headgate-client/chat": ["RunChatTransport"],
    "headgate-client/react": ["useChatTransport", "useRun"],
}
# What a project has of its own that uses all entries.
OTHERS = ("react", "react-dom", "ai", "ai-7", "@ai-sdk/react", "@ai-sdk/react-4")


def ran(folder: Path, script: Path | str, *arguments: str | Path) -> str:
    """Run a program of Node.js that has to succeed; what it prints."""
    environment = {**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [NODE, script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, and a project's own packages."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"private": true}')
    packing = ("pack", "--ignore-scripts", "--json", "--pack-destination")
    (packed,) = json.loads(ran(PACKAGE, NPM, *packing, folder))
    ran(folder, NPM, "install", "--offline", "--no-audit", "--no-fund", packed["filename"])
    installed = [path.name for path in (folder / "node_modules").iterdir()]
    assert sorted(installed) == [".package-lock.json", "headgate-client"], "it needs nothing else"
    files = {path.name for path in (folder / "node_modules/headgate-client").iterdir()}
    assert files == {"LICENSE", "README.md", "dist", "package.json"}
    modules = folder / "node_modules"
    places = {name: ROOT / "tests/node/node_modules" / name for name in OTHERS}
    places["@types/react"] = PACKAGE / "node_modules/@types/react"
    for name, place in places.items():
        (modules / name).parent.mkdir(exist_ok=True)
        (modules / name).symlink_to(place)
    return folder


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["mjs", "cjs"])
def test_esm_and_commonjs_programs_load_each_entry_with_all_its_functions(
    project: Path, kind: str
) -> None:
    load = "await import(name)" if kind == "mjs" else "require(name)"
    program = project / f"program.{kind}"
    program.write_text(f"""
        const entries = {{}};
        for (const name of {json.dumps([*ENTRIES])}) {{
          const given = {load};
          const isFunction = (key) => typeof given[key] === "function";
          entries[name] = Object.keys(given).filter(isFunction).sort();
        }}
        console.log(JSON.stringify(entries));
    """)
    assert json.loads(ran(project, program)) == ENTRIES


@pytest.mark.usefixtures("processes")
def test_the_npm_package_frames_chunks_as_the_library_does_and_refuses_what_it_refuses(
    project: Path,
) -> None:
    program = project / "chunks.mjs"
    program.write_text("""
        import { encodeMultiChunks } from "headgate-client"
        const tried = (chunks) => {
          try { return Buffer.from(encodeMultiChunks(chunks)).toString("hex") }
          catch (error) { return `${error.name}: ${error.message}` }
        }
        const part = new Uint8Array([0, 1, 255, 2]).subarray(1, 3)
        const framed = [["Once ", part, "é☕𝄞"], [], new Set(["a".repeat(70_000)])]
        const refused = [["a", ""], [new Uint8Array(0)], ["a\\ud800"], [1], "abc", part, [[1]]]
        refused.push(5, null, Promise.resolve(["a"]))
        console.log(JSON.stringify([framed, refused].map((all) => all.map(tried))))
    """)
    framed, refused = json.loads(ran(project, program))
    chunks: list[list[bytes | str]] = [["Once ", b"\x01\xff", "é☕𝄞"], [], ["a" * 70_000]]
    assert framed == [encode_multi_chunks(each).hex() for each in chunks]
    assert refused == [
        "TypeError: chunk 2 is empty: each has at least a byte",
        "TypeError: chunk 1 is empty: each has at least a byte",
        "TypeError: chunk 1 is no text: it has half of a surrogate pair",
        "TypeError: chunk 1 is neither a string nor a Uint8Array",
        *["TypeError: encodeMultiChunks takes several chunks, such as an array, and not one"] * 2,
        "TypeError: chunk 1 is neither a string nor a Uint8Array",
        "TypeError: encodeMultiChunks takes several chunks, such as an array, and not 5",
        "TypeError: encodeMultiChunks takes several chunks, such as an array, and not null",
        "TypeError: encodeMultiChunks takes several chunks, such as an array, and no promise: "
        "await it",
    ]


@pytest.mark.parametrize("kind", ["FollowStream", "FollowRun", "RunChatTransport"])
def test_the_page_on_browser_code_lists_every_option_of_the_npm_package(kind: str) -> None:
    page = (ROOT / "docs/client/pages.md").read_text()
    source = "".join(path.read_text() for path in PACKAGE.glob("src/*.ts"))
    (options,) = re.findall(rf"interface {kind}Options.*?{{\n(.*?)\n}}", source, re.DOTALL)
    for name in re.findall(r"^  readonly (\w+)", options, re.MULTILINE):
        assert f"`{name}" in page


@pytest.mark.usefixtures("processes")
def test_rendering_use_run_on_a_server_shows_the_initial_value_and_status(project: Path) -> None:
    program = project / "server.mjs"
    program.write_text("""
        import { createElement } from "react"
        import { renderToString } from "react-dom/server"
        import { useRun } from "headgate-client/react"

        const Answer = () => {
          const { value, status } = useRun("/runs/1", { initial: "nothing", reduce: String })
          return `${value}, ${status}`
        }
        console.log(renderToString(createElement(Answer)))
    """)
    assert ran(project, program) == "nothing, active\n"


# Each in one go, since a compiler takes a second; what the AI SDK declares is not checked.
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["page.ts"], ["--module", "esnext", "--moduleResolution", "bundler"]),
        (["page.mts", "page.cts", "chat.mts"], ["--module", "node16", "--skipLibCheck"]),
    ],
    ids=["bundler", "node"],
)
def test_programs_that_use_the_npm_package_pass_the_strict_type_checker(
    project: Path, names: Sequence[str], options: Sequence[str]
) -> None:
    for name in names:
        source = CONSUMER / name
        shutil.copy(source if source.exists() else CONSUMER / "page.ts", project / name)
    ran(project, TSC, "--noEmit", "--strict", "--target", "es2022", *options, *names)

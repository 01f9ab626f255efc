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

from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = ROOT / "client" / "js"
NPM = NODE.resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
TSC = PACKAGE / "node_modules" / "typescript" / "bin" / "tsc"
CONSUMER = Path(__file__).with_name("consumer")
ENTRIES = {
    "headgate-client": ["FollowError", "followRun", "followStream"],
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
    modules = folder / "node_modules"
    for name in OTHERS:
        link(modules / name, ROOT / "tests" / "node" / "node_modules" / name)
    link(modules / "@types" / "react", PACKAGE / "node_modules" / "@types" / "react")
    return folder


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(to)


def test_the_installed_npm_package_contains_only_the_published_files(project: Path) -> None:
    installed = project / "node_modules" / "headgate-client"
    assert {path.name for path in installed.iterdir()} == {
        *("LICENSE", "README.md", "dist", "package.json")
    }
    kinds = {"".join(path.suffixes) for path in installed.glob("dist/*/*")}
    assert kinds == {".js", ".d.ts", ".json"}


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


@pytest.mark.parametrize(
    ("heading", "file", "interface"),
    [
        ("Follow a stream", "follow-stream", "FollowStreamOptions"),
        ("Follow a run", "follow-run", "FollowRunOptions"),
        ("useChat", "chat", "RunChatTransportOptions"),
    ],
)
def test_the_page_on_browser_code_lists_every_option_of_the_npm_package(
    heading: str, file: str, interface: str
) -> None:
    page = (ROOT / "docs" / "client" / "pages.md").read_text().split(f"## {heading}\n")[1]
    source = (PACKAGE / "src" / f"{file}.ts").read_text().split(f"interface {interface}")[1]
    options = re.findall(r"^  readonly (\w+)", source.split("\n}\n")[0], re.MULTILINE)
    table = page.split("| option |")[1].split("\n\n")[0]
    named = [
        name
        for row in re.findall(r"^\|(.*?)\|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)", row)
    ]
    assert set(options) <= set(named)


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


@pytest.mark.usefixtures("processes")
def test_an_event_beyond_16_mi_characters_is_an_error_and_one_at_the_bound_is_read(
    project: Path,
) -> None:
    program = project / "long.mjs"
    program.write_text("""
        import { RunChatTransport } from "headgate-client/chat"

        async function read(length) {
          const event = `data: "${"x".repeat(length - 'data: ""'.length)}"`
          const pieces = [event, "\\n\\n", "data: [DONE]\\n\\n"]
          const body = ReadableStream.from(pieces.map((piece) => new TextEncoder().encode(piece)))
          const answering = async () => new Response(body)
          const transport = new RunChatTransport({ fetch: answering })
          const chunks = await transport.reconnectToStream({ chatId: "one" })
          let read = 0
          for await (const chunk of chunks) read += chunk.length
          return read
        }
        const most = 16 * 1024 * 1024
        console.log(await read(most), await read(most + 1).catch(({ message }) => message))
    """)
    too_long = "the answer has an event of more than 16777216 characters"
    assert ran(project, program) == f"{16 * 1024 * 1024 - 8} {too_long}\n"


# Each in one go, since a compiler takes a second; what the AI SDK declares is not checked.
@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("names", "options"),
    [
        pytest.param(
            ["page.ts"],
            ["--module", "esnext", "--moduleResolution", "bundler"],
            id="with-a-bundler",
        ),
        (["page.mts", "page.cts", "chat.mts"], ["--module", "node16", "--skipLibCheck"]),
    ],
)
def test_programs_that_use_the_npm_package_pass_the_strict_type_checker(
    project: Path, names: Sequence[str], options: Sequence[str]
) -> None:
    for name in names:
        source = CONSUMER / name
        shutil.copy(source if source.exists() else CONSUMER / "page.ts", project / name)
    ran(project, TSC, "--noEmit", "--strict", "--target", "es2022", *options, *names)

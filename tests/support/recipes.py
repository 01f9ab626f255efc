"""Recipes of a page, done as they are written, with loopback ports for what they name.

A recipe is a section. Of it the block with a file's name in its first line is that file, `sh` is
run, and `console` is typed line by line. `NAME$ command` starts a program that runs to the end of
the recipe, or until the same name starts another; `bridge` is one that listens nowhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.support.ports import accepts, free_port
from tests.support.processes import AT_ONCE, HEADGATE, forked_command
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

# These are not on everybody's PATH.
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
CADDY = shutil.which("caddy") or "/usr/bin/caddy"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
NGINX_CONF = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/streams.conf;
}}
"""
# Caddy opens the recipe's listener alone, by TCP, since the port is reserved by UDP, and changes
# nothing in the trust of the machine.
CADDY_OPTIONS = """{
    admin off
    auto_https disable_redirects
    skip_install_trust
    servers {
        protocols h1 h2
    }
}
"""
FILE_NAME = re.compile(r"(?:#|<!--) ([\w.-]+\.\w+)(?: -->)?\n")
TYPED = re.compile(r"(\w*)\$ (.*)")
PATIENCE_S = 60.0  # a script of a page may start a dozen programs


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str


def titles(page: Path) -> list[str]:
    """Return the headings of the second level of a page, in its order."""
    return re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)


def recipe(page: Path, title: str) -> list[Block]:
    """Return the blocks under a heading of a page."""
    section = page.read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)]


class Kitchen:
    """A folder, a shell in it, and the programs that a recipe starts."""

    def __init__(
        self, page: Path, folder: Path, replaced: Mapping[str, str], more: Mapping[str, str]
    ) -> None:
        """`replaced` are addresses of others, `more` variables that a recipe takes for given."""
        self.page = page
        self.folder = folder
        self.ports = {4437: free_port(), 4439: free_port(), 8000: free_port(), 443: free_port()}
        self._replaced = {
            **replaced,
            "listen 443 ssl": f"listen 127.0.0.1:{self.ports[443]} ssl",
            "bind :443 ssl": f"bind 127.0.0.1:{self.ports[443]} ssl",
            "# streams.caddyfile\nstreams.example.com {": (
                f"{CADDY_OPTIONS}https://streams.example.com:{self.ports[443]} {{\n"
                "    bind 127.0.0.1"
            ),
            "/etc/ssl/streams.": f"{folder}/streams.",
            "/var/log/nginx/": f"{folder}/",
            "port=8000": f"port={self.ports[8000]}",
            **{f"127.0.0.1:{told}": f"127.0.0.1:{own}" for told, own in self.ports.items()},
        }
        self._stack = contextlib.ExitStack()
        commands, variables, self._forks = self._stack.enter_context(forked_command())
        path = os.pathsep.join([str(commands), str(HEADGATE.parent), os.environ["PATH"]])
        self._environment = {**os.environ, **AT_ONCE, **more, **variables, "PATH": path}
        self._environment["CURL_HOME"] = str(folder)
        self._environment["XDG_DATA_HOME"] = str(folder)  # of Caddy
        self._shell = ""  # what was typed so far that later lines need
        self._started: dict[str, contextlib.ExitStack] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def here(self, text: str) -> str:
        """A text with the addresses and folders that it has here."""
        for told, own in self._replaced.items():
            text = text.replace(told, own)
        return text

    def follow(self, title: str) -> int:
        """Do it; how many lines of output were as they are written."""
        blocks = recipe(self.page, title)
        for block in blocks:
            if (named := FILE_NAME.match(block.text)) is not None:
                (self.folder / named[1]).write_text(self.here(block.text))
        compared = 0
        for block in blocks:
            if block.language == "sh":
                self.type_in(block.text)
            elif block.language == "console":
                compared += self._type(block.text)
        return compared

    def _type(self, text: str) -> int:
        compared = 0
        output = ""
        for line in text.splitlines():
            typed = TYPED.fullmatch(line)
            if typed is None:
                assert line in output, f"{line!r} is not in:\n{output}"
                output = output.partition(line)[2]
                compared += 1
            elif typed[1]:
                self._start(typed[1], self.here(typed[2]))
            elif re.match(r"\w+=", typed[2]):  # for the lines that follow
                self._shell += f"{self.here(typed[2])}\n"
            else:
                output = self.type_in(typed[2]).replace("\r\n", "\n")
        return compared

    def type_in(self, command: str) -> str:
        """A command, whose output is given back; it has to succeed."""
        done = subprocess.run(
            ["bash", "-c", self._shell + self.here(command)],
            cwd=self.folder,
            env=self._environment,
            pass_fds=[self._forks],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, name: str, command: str) -> None:
        words = command.split()
        if name in self._started:
            self._started[name].close()
        self._started[name] = self._stack.enter_context(contextlib.ExitStack())
        port: int | None
        if name == "server":
            listen, admin = (f"127.0.0.1:{self.ports[told]}" for told in (4437, 4439))
            program, port = [*words, "--listen", listen, "--admin", admin], self.ports[4437]
        else:
            program = [sys.executable, *words[1:]]
            port = None if name == "bridge" else self.ports[8000]
        self._started[name].enter_context(self._running(program, port))
        if name == "server" and (proxy := self._proxy()):
            self._serve_tls(proxy)

    def _proxy(self) -> list[str]:
        """Return the command of the proxy whose file the recipe has; empty without one."""
        folder = self.folder
        if (folder / "streams.conf").exists():
            (folder / "nginx.conf").write_text(NGINX_CONF.format(folder=folder))
            return [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        if (folder / "streams.caddyfile").exists():
            return [CADDY, "run", "--config", "streams.caddyfile", "--adapter", "caddyfile"]
        if (folder / "haproxy.cfg").exists():
            return [HAPROXY, "-f", "haproxy.cfg"]
        return []

    def _serve_tls(self, command: list[str]) -> None:
        """Start the proxy of the recipe's machine, with a certificate that curl trusts."""
        host = "streams.example.com"
        if (conf := self.folder / "streams.conf").exists():
            named = re.search(r"server_name (\S+);", conf.read_text())
            assert named is not None
            host = named[1]
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        wanted = f"-subj /CN={host} -addext subjectAltName=DNS:{host}"
        subprocess.run(
            f"{made} {wanted} -keyout streams.key -out streams.pem".split(),
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        with (self.folder / "streams.pem").open("a") as pem:  # HAProxy reads both from one file
            pem.write((self.folder / "streams.key").read_text())
        (self.folder / ".curlrc").write_text(
            f'cacert = "{self.folder}/streams.pem"\n'
            f'connect-to = "{host}:443:127.0.0.1:{self.ports[443]}"\n'
        )
        self._stack.enter_context(self._running(command, self.ports[443]))

    @contextlib.contextmanager
    def _running(self, command: list[str], port: int | None) -> Iterator[None]:
        log = self.folder / f"{port}.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                pass_fds=[self._forks],
                stdout=written,
                stderr=written,
            )
        try:
            wait_until(
                lambda: port is None or process.poll() is not None or accepts(port),
                f"{command[0]} to accept",
                log.read_text,
            )
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait()

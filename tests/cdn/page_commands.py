"""The commands of README and pages that make a configuration, as somebody types them here."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from tests.support.certificates import HERE
from tests.support.processes import HEADGATE, ROOT, run
from tests.support.proxy_engines import ENGINES, run_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

PAGES = (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "cdn_configs").rglob("*.md"))
# A target and its options, in a block or within a line.
_COMMAND = re.compile(r"headgate cdn render ([a-z]\S*)((?:\s+(?!#)[^\s`|>#]+)+)")
NAME = "gateway.example.com"  # for which the certificate of the gateway with TLS is


class Command(NamedTuple):
    """A command, by its page and by its words after `render`."""

    page: str
    words: tuple[str, ...]

    @property
    def target(self) -> str:
        return self.words[0]

    @property
    def is_run(self) -> bool:
        """True if an engine runs here what the command makes."""
        return self.target in ENGINES

    @property
    def speaks_tls(self) -> bool:
        """True if it is for a gateway with a certificate of an authority of one's own."""
        return "--upstream-ca" in self.words

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


class Here(NamedTuple):
    """Where that is, on this machine, which a page names at another place."""

    config: Path
    gateway: int  # port
    listen: int
    authority: Path


def commands() -> Iterator[Command]:
    """Yield each command once for each page."""
    seen = set()
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for block in re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL):
            for target, options in _COMMAND.findall(block):
                # A line of a block ends a command, and a span of code may go on in the next.
                line = options.partition("\n")[0] if block.startswith("```") else options
                command = Command(str(page.relative_to(ROOT)), (target, *shlex.split(line)))
                if len(command.words) > 1 and command not in seen:
                    seen.add(command)
                    yield command


def typed(command: Command, here: Here, folder: Path) -> CompletedProcess[bytes]:
    """Run a command as it is printed, with the settings of a gateway here, into a folder."""
    return _run(_replaced(command.words, {"--config": str(here.config), "-o": str(folder)}))


def typed_here(command: Command, here: Here, folder: Path) -> CompletedProcess[bytes]:
    """Run a command for an engine of this machine: with its addresses, and as a whole file."""
    count = " ".join(command.words).count(",") + 1  # gateways
    gateways = ",".join(f"{host}:{here.gateway}" for host in (HERE, "localhost")[:count])
    own = {
        "--config": str(here.config),
        "-o": str(folder),
        "--host": HERE,
        "--listen": str(here.listen),
        "--upstream": gateways,
        "--upstream-name": NAME,
        "--upstream-ca": str(here.authority),
    }
    words = _replaced(command.words, own)
    words += [] if "--listen" in words else ["--listen", str(here.listen)]
    alone = "--standalone" in words or not run_here(command.target).can_stand_alone
    return _run([*words, *([] if alone else ["--standalone"])])


def _run(words: Sequence[str]) -> CompletedProcess[bytes]:
    return run([HEADGATE, "cdn", "render", *words])


def _replaced(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Return the words with these values after the options that have others."""
    done: list[str] = []
    for word in words:
        done.append(values.get(done[-1], word) if done else word)
    return done

"""Names that lead out of the data folder, or to another stream's file (S14): on disk a name is a
value in one SQLite file, so none of them is anything to the file system.
"""

from __future__ import annotations

import random
import unicodedata
from typing import TYPE_CHECKING, Literal

import pytest

from headgate_gateway.errors import BadRequest, StartError
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.http.paths import canonical_path
from tests.logs.abilities import needed
from tests.logs.contract import created, opened
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

NAMES = 100_000 if IS_WHOLE else 10_000
A_COMMIT = 5000  # creations
PIECES = (
    *("..", ".", "/", "//", "\\", "../", "..\\", "/etc/passwd", "~root", "$HOME", "%2e%2e%2f"),
    *(
        "\0",
        "%00",
        "\n",
        "\r\n",
        "\x1b[2J",
        "\x7f",
        " ",
        ".",
        "...",
        "'",
        '"',
        "`id`",
        "$(id)",
        ";",
    ),
    *("'; drop table streams; --", "headgate.db", "headgate.db-wal", "headgate.lock", "file:", "?"),
    *("CON", "NUL", "aux.txt", "lpt1", "a.", "a ", "name:stream", "*", "|", "-rf", "x" * 255),
    *("a", "A", "b", "\u00e9", "e\u0301", "\u212b", "\u00c5", "A\u030a", "\u0130", "i\u0307"),
    *("\ufeff", "\u202e", "\u200d", "\uff0e\uff0e\uff0f", "\U0001f600", "\u00df", "SS", "\ufb01"),
)
LEFT = {"headgate.db", "headgate.db-wal", "headgate.db-shm", "headgate.lock", "headgate.reserve"}


def drawn(seed: int) -> Iterator[str]:
    """Names, some of which are told apart by case or Unicode's normal form alone; no two alike."""
    chance = random.Random(seed)
    known: set[str] = set()
    while True:
        name = "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        name += str(chance.randrange(1000)) * chance.randint(0, 1)
        twins = (name, name.swapcase(), *(unicodedata.normalize(form, name) for form in FORMS))
        for twin in dict.fromkeys(twins):
            if twin not in known:
                known.add(twin)
                yield twin


FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def files_below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


async def listed(log: Log) -> list[str]:
    """The name of every stream."""
    paths: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await needed(log.listing).page("", after, 5000)
        paths += [state.path for state in page.states]
        after = page.after
    return paths


@pytest.mark.timeout(180)
async def test_stream_names_of_any_characters_create_no_files_of_their_own(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The log is given what no request could name, too."""
    data = tmp_path / "around" / "data"
    data.mkdir(parents=True)
    seed = random.randrange(1 << 32)
    names = drawn(seed)
    kept: set[str] = set()
    async with opened("sqlite", data) as log:
        while len(kept) < NAMES:
            some = [next(names) for _ in range(A_COMMIT)]
            await log.commit([created(log, name) for name in some])
            kept.update(some)
        found = await listed(log)
        assert len(found) == len(kept), f"seed {seed}"
        assert set(found) == kept, f"seed {seed}"
        chance = random.Random(seed)
        for name in chance.sample(sorted(kept), 500):
            state = (await log.load(name)).path_state.state
            assert state is not None
            assert state.path == name
        assert files_below(tmp_path) <= {
            "around",
            "around/data",
            *(f"around/data/{name}" for name in LEFT),
        }
    tell(f"{len(kept)} names, seed {seed}")


def test_canonical_paths_of_hostile_names_have_no_dot_segments_and_differ_by_name(
    tell: Callable[[str], None],
) -> None:
    seed = random.randrange(1 << 32)
    names = drawn(seed)
    taken: dict[str, str] = {}
    for _ in range(NAMES // 4):
        name = next(names)
        try:
            path = canonical_path(f"/{name}")
        except BadRequest:
            continue
        assert path.isascii(), f"seed {seed}"
        assert path.isprintable(), f"seed {seed}"
        assert not {".", "..", "\\", "\0"} & set(path.split("/")), f"seed {seed}"
        unlike = taken.setdefault(path, name)
        # Encoded or not, a name is the same one; what differs in a character is another one.
        assert canonical_path(f"/{unlike}") == path, f"seed {seed}"
        assert unlike == name or "%" in unlike + name, f"seed {seed}"
    tell(f"{NAMES // 4:,} names, {len(taken)} taken, seed {seed}")


@pytest.mark.parametrize("name", sorted(LEFT))
@pytest.mark.parametrize("is_there", [True, False])
async def test_a_symbolic_link_at_a_data_file_is_refused_and_its_target_unchanged(
    tmp_path: Path, name: str, is_there: bool
) -> None:
    data, victim = tmp_path / "data", tmp_path / "victim"
    async with opened("sqlite", tmp_path / "other"):
        pass
    if is_there:  # a data file of ours would do the most harm
        victim.write_bytes((tmp_path / "other" / "headgate.db").read_bytes())
    before = victim.read_bytes() if is_there else None
    data.mkdir()
    (data / name).symlink_to(victim)
    log = SqliteLog(data)
    with pytest.raises(StartError) as refusal:
        await log.open()
    await log.close()
    assert refusal.value.detail == (
        f"{data / name} is a symbolic link: it was left as it is; to keep streams elsewhere, make"
        " the folder a link"
    )
    assert (victim.read_bytes() if victim.exists() else None) == before
    assert (data / name).is_symlink()


async def test_a_data_folder_that_is_a_symbolic_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    async with opened("sqlite", tmp_path / "data") as log:
        await log.commit([created(log, "s", b"x")])
    assert "headgate.db" in files_below(tmp_path / "disk")

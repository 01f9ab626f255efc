"""One run from its seed to its verdict."""

from __future__ import annotations

import asyncio
import random

from tests.streams.simulation.people import Keeper, Reader, Writer
from tests.streams.simulation.world import World, small_chunks, virtual_durations
from tests.support import virtual_time

CHAOS_S = (2.0, 4.0, 8.0)
CALM_S = 45.0  # longer than it takes to find that a connection is dead, and to make it anew


def run(seed: int) -> World:
    """What came of a seed."""
    random.seed(seed)  # what the gateways themselves leave to chance
    with small_chunks(), virtual_durations():
        return virtual_time.run(_run(seed))


async def _run(seed: int) -> World:
    world = World(seed)
    asyncio.get_running_loop().set_exception_handler(world.unhandled)
    await world.start()
    chance = world.chance
    keepers = [Keeper(world, path, f"k{path}") for path in world.paths]
    await asyncio.gather(*(keeper.make() for keeper in keepers))
    if not world.plan.removes:
        world.redis.moments.clear()  # that they were made is not lost
        world.redis.moments.append(dict(world.redis.keys))
    writers = [
        Writer(world, path, f"w{path}{number}")
        for path in world.paths
        for number in range(chance.choice((1, 2, 3)))
    ]
    paths = world.paths + [f"{path}-fork" for path in world.paths if world.plan.removes]
    readers = [
        Reader(world, path, f"r{path}{number}")
        for path in paths
        for number in range(chance.choice((2, 4)))
    ]
    following = [asyncio.create_task(reader.follow()) for reader in readers]
    busy = [asyncio.create_task(writer.write()) for writer in writers]
    busy += [asyncio.create_task(keeper.keep()) for keeper in keepers]
    misfortune = asyncio.create_task(world.befall())
    await asyncio.sleep(chance.choice(CHAOS_S))
    world.calm()
    await asyncio.gather(misfortune, *busy)
    world.note("all is quiet")
    await asyncio.sleep(CALM_S)
    for reader in readers:
        _check_reader(world, reader)
    for path in world.paths:
        _check_writers(world, path, [one for one in writers if one.path == path])
    for path in paths:
        _check_list(world, path)
    for task in following:
        task.cancel()
    for outcome in await asyncio.gather(*following, return_exceptions=True):
        if not isinstance(outcome, asyncio.CancelledError):
            world.fault(f"a reader ended: {outcome!r}")
    await world.stop()
    return world


def _check_reader(world: World, reader: Reader) -> None:
    """Without a further append everybody has come to the end."""
    state = world.state(reader.path)
    if state is None or state.soft_deleted:
        return
    content = world.content(reader.path)
    same = content == reader.content
    if world.plan.retention:
        same = content.endswith(reader.content) or reader.content.endswith(content)
    if not same or int(reader.offset[-16:]) != state.tail:
        world.fault(
            f"{reader} ({reader.way}, by {reader.gateway}) is left behind at {reader.offset} "
            f"of {state.tail}: {reader.content!r}, not {content!r}"
        )


def _check_list(world: World, path: str) -> None:
    """What stands is on the list of paths, whatever was lost meanwhile."""
    if world.state(path) is not None and path.encode() not in world.listed:
        world.fault(f"{path} stands, and is not listed")


def _check_writers(world: World, path: str, writers: list[Writer]) -> None:
    """What was acknowledged is there once and in order, unless Redis has lost it."""
    content = world.content(path)
    messages = content.split(b";")[:-1]
    for writer in writers:
        mine = [one + b";" for one in messages if one.startswith(f"{writer.name}.".encode())]
        twice = {one for one in mine if mine.count(one) > 1}
        if twice - writer.maybe_twice:
            world.fault(f"{writer} wrote something twice: {mine}")
        numbers = [int(one.split(b".")[1].rstrip(b";x")) for one in mine]
        if numbers != sorted(numbers) and not writer.is_plain:
            world.fault(f"{writer} is out of order: {numbers}")
        for message in writer.acked:
            if message not in mine and message not in world.redis.lost:
                world.fault(f"{message!r} was acknowledged and is not there")

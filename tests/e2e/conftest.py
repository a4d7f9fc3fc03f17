"""End to end: the real image under a real Docker engine. Skipped where there is none, except in CI."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from tests.support.docker import BUILD_PATIENCE, Machine, build_image, engine_problem

HERE = Path(__file__).parent

StartMachine = Callable[..., Awaitable[Machine]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)
            # the first of them waits for the image
            item.add_marker(pytest.mark.timeout(BUILD_PATIENCE + 60))


@pytest.fixture(scope="session")
def engine() -> None:
    problem = asyncio.run(engine_problem())
    if problem is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"end-to-end tests must run in CI, and {problem}")
    pytest.skip(problem)


@pytest.fixture(scope="session")
def image(engine: None) -> str:  # noqa: ARG001 - asked for, not used: without an engine there is no image
    return asyncio.run(build_image())


@pytest.fixture
async def start_machine(image: str) -> AsyncIterator[StartMachine]:
    """Starts machines that are removed after the test; all arguments are those of Machine."""
    machines: list[Machine] = []

    async def start(
        *,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        variant: str = "",
        user: str | None = None,
    ) -> Machine:
        machine = Machine(variant or image, env=env, mounts=mounts, user=user)
        machines.append(machine)
        await machine.start()
        return machine

    yield start
    await asyncio.gather(*(machine.remove() for machine in machines))

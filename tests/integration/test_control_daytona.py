"""Daytona by its real SDK, against a stand-in of its API that fronts a real machine under s6 by a preview link."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.control.errors import MachineNotFoundError, MachineSpecError, ProviderError
from daemon.control.models import MachineState
from daemon.control.providers import MachineSpec, RefreshesCode
from daemon.control.providers.daytona import DaytonaProvider
from daemon.control.tokens import MachineTokens
from tests.support.daytona_cloud import API_KEY, PREVIEW_HEADER, DaytonaCloud
from tests.support.machine import GIT_TOKEN, HostMachine

NO_WORKSPACE = {".gitignore": "__pycache__/\n*.pyc\n"}


@pytest.fixture
async def cloud() -> AsyncIterator[DaytonaCloud]:
    """Its sandboxes are never asked anything."""
    async with DaytonaCloud("http://127.0.0.1:1", lambda _env: None) as cloud:
        yield cloud


def provider_of(
    cloud: DaytonaCloud, key: str = API_KEY, fleet: str = "test", git_token_file: Path | None = None
) -> DaytonaProvider:
    return DaytonaProvider(
        api_key=key,
        api_url=cloud.api_url,
        target="eu",
        fleet=fleet,
        snapshot="refreshd",
        tokens=MachineTokens(b"k" * 32),
        timeout=20,
        git_token_file=git_token_file,
    )


@pytest.fixture
async def provider(cloud: DaytonaCloud) -> AsyncIterator[DaytonaProvider]:
    provider = provider_of(cloud)
    yield provider
    await provider.close()


async def test_a_sandbox_is_made_refreshed_through_its_preview_link_and_confirmed(tmp_path: Path) -> None:
    """The git token that it was created with has expired, as such tokens do."""
    (tmp_path / "git-token").write_text(GIT_TOKEN)
    async with HostMachine(files=NO_WORKSPACE) as machine:

        def configure(env: dict[str, str]) -> None:
            (machine.folder / "token").write_text(env["REFRESHD_TOKEN"])

        async with DaytonaCloud(machine.url, configure) as cloud:
            provider = provider_of(cloud, git_token_file=tmp_path / "git-token")
            (machine.folder / "git-token").write_text("expired")
            await machine.service.wait_ready()
            await is_refreshed(provider, cloud, machine)
            await provider.close()


async def is_refreshed(provider: DaytonaProvider, cloud: DaytonaCloud, machine: HostMachine) -> None:
    made = await provider.create(MachineSpec("agent", {"EXTRA": "1"}))
    assert (made.name, made.state, made.kind) == ("agent", MachineState.RUNNING, "daytona")
    (sandbox,) = cloud.sandboxes.values()
    assert (sandbox["snapshot"], sandbox["public"], sandbox["env"]["EXTRA"]) == ("refreshd", False, "1")
    assert isinstance(provider, RefreshesCode)
    target = machine.upstream.release("2.0.0")
    result = await provider.refresh_code(made.ref, target, key="k")
    assert (result.success, result.outcome, result.from_commit, result.to_commit) == (
        True,
        "succeeded",
        machine.first,
        target,
    )
    assert {headers.get(PREVIEW_HEADER) for headers in cloud.proxied} == {cloud.preview_token}
    again = await provider.refresh_code(made.ref, target)
    assert (again.success, again.outcome) == (True, "unchanged")


async def test_the_life_of_a_sandbox(provider: DaytonaProvider, cloud: DaytonaCloud) -> None:
    made = await provider.create(MachineSpec("agent"))

    async def state() -> MachineState:
        (found,) = await provider.machines()
        return found.state

    await provider.stop(made.ref)
    assert await state() is MachineState.STOPPED
    assert await provider.preview_url(made.ref) is None
    assert (await provider.refresh_code(made.ref, "main")).outcome == "stopped"
    await provider.start(made.ref)
    assert await state() is MachineState.RUNNING
    cloud.seen.clear()
    await provider.restart(made.ref)
    changes = [call.rpartition("/")[2] for call in cloud.seen if call.startswith("POST")]
    assert changes == ["stop", "start"]
    await provider.archive(made.ref)
    assert await state() is MachineState.ARCHIVED
    facts = await provider.display_info(made)
    assert {"Sandbox", "Snapshot", "Region", "Size"} == {fact.label for fact in facts}
    assert any(made.ref in command.command for command in await provider.commands(made))
    await provider.delete(made.ref)
    assert await provider.machines() == []
    with pytest.raises(MachineNotFoundError):
        await provider.start(made.ref)


async def test_sandboxes_of_another_fleet_are_not_ours(provider: DaytonaProvider, cloud: DaytonaCloud) -> None:
    await provider.create(MachineSpec("agent"))
    other = provider_of(cloud, fleet="another")
    assert await other.machines() == []
    await other.close()


async def test_a_wrong_key_is_a_refusal_that_does_not_quote_it(cloud: DaytonaCloud) -> None:
    stranger = provider_of(cloud, key="planted-secret")
    with pytest.raises(ProviderError) as refused:
        await stranger.machines()
    assert "cannot list the machines: Daytona says" in str(refused.value)
    assert "planted-secret" not in str(refused.value)
    await stranger.close()


async def test_what_the_provider_sets_itself_cannot_be_given(provider: DaytonaProvider, cloud: DaytonaCloud) -> None:
    with pytest.raises(MachineSpecError) as refused:
        await provider.create(MachineSpec("agent", {"REFRESHD_TOKEN": "planted-secret"}))
    assert "REFRESHD_TOKEN is set by the control plane" in str(refused.value)
    assert "planted-secret" not in str(refused.value)
    assert cloud.sandboxes == {}


async def test_no_token_is_in_a_preview_that_is_shown(provider: DaytonaProvider, cloud: DaytonaCloud) -> None:
    made = await provider.create(MachineSpec("agent"))
    preview = await provider.preview_url(made.ref)
    assert preview
    assert preview.token
    assert preview.token not in repr(preview)
    assert cloud.preview_token not in repr(preview)
    assert Path(preview.url).name == made.ref

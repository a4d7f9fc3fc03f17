"""The image by itself: what it promises to those who build, run and watch it. Refreshing is tested elsewhere."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import StartMachine
from tests.support.docker import Machine, build_image, docker
from tests.support.machine_root import write_fake_daemon
from tests.support.s6 import eventually

COMMIT = "0123456789abcdef0123456789abcdef01234567"


async def config(image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await docker("image", "inspect", image)).stdout)[0]["Config"]
    return found


async def run(image: str, *argv: str) -> str:
    return (await docker("run", "--rm", image, *argv)).stdout.strip()


async def test_commit_of_the_build_is_a_label_and_in_the_environment(engine: None) -> None:  # noqa: ARG001 - needed
    image = await build_image(ITERATE_GIT_SHA=COMMIT)
    found = await config(image)
    assert found["Labels"]["org.opencontainers.image.revision"] == COMMIT
    assert await run(image, "printenv", "ITERATE_GIT_SHA") == COMMIT


async def test_image_says_its_title_and_licence(image: str) -> None:
    labels = (await config(image))["Labels"]
    assert labels["org.opencontainers.image.title"] == "refreshd"
    assert labels["org.opencontainers.image.licenses"] == "MIT"


async def test_image_listens_on_3000_and_says_how_to_ask_for_its_health(image: str) -> None:
    found = await config(image)
    assert list(found["ExposedPorts"]) == ["3000/tcp"]
    assert "REFRESHD_LISTEN=0.0.0.0:3000" in found["Env"]
    assert "/healthz" in found["Healthcheck"]["Test"][1]


async def test_programs_run_as_the_user_iterate(image: str) -> None:
    assert await run(image, "sh", "-c", "id -un; id -u; id -g; echo $HOME") == "iterate\n1000\n1000\n/home/iterate"


async def test_user_may_have_another_id(engine: None) -> None:  # noqa: ARG001 - needed
    """One that Debian has given away already, such as that of a host's user in the group `staff`."""
    image = await build_image(UID="501", GID="20")
    assert await run(image, "sh", "-c", "id -u; id -g; stat -c %u:%g /var/lib/refreshd") == "501\n20\n501:20"


@pytest.mark.parametrize("tool", ["git", "rsync", "s6-svscan", "execlineb", "node", "npm", "pnpm", "uv", "curl"])
async def test_tool_is_found(image: str, tool: str) -> None:
    assert (await run(image, "which", tool)).startswith("/usr/")


async def test_folders_of_the_daemon_belong_to_its_user(image: str) -> None:
    folders = ("/home/iterate/repo", "/var/lib/refreshd", "/run/refreshd", "/var/log/refreshd")
    assert set((await run(image, "stat", "-c", "%U", *folders)).split()) == {"iterate"}


async def test_machine_files_belong_to_root_and_only_root_can_change_them(image: str) -> None:
    paths = ("/usr/libexec/refreshd", "/etc/s6-overlay", "/usr/local/bin/refreshd-entry", "/opt/refreshd")
    assert (
        await run(image, "find", *paths, "-not", "-type", "l", "(", "-not", "-user", "root", "-o", "-perm", "/022", ")")
        == ""
    )


async def test_refreshd_answers_in_a_running_machine(start_machine: StartMachine) -> None:
    machine = await start_machine()
    assert (await machine.exec("refreshd", "--version")).stdout.startswith("refreshd ")


# The image's own daemon, where the checkout holds none.


async def until_healthy(machine: Machine) -> None:
    """By the image's own HEALTHCHECK."""
    async with asyncio.timeout(60):
        while (await machine.inspect())["State"]["Health"]["Status"] != "healthy":  # noqa: ASYNC110 - asks the engine
            await asyncio.sleep(0.2)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A repository of the host's user, which the machine's user can only read."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "page.txt").write_text("A\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=Host", "-c", "user.email=host@example.com")
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=A")):
        subprocess.run(["git", *identity, *words], cwd=host, env=environment, check=True)
    return host


async def test_machine_without_code_is_healthy(start_machine: StartMachine) -> None:
    await until_healthy(await start_machine())


async def test_restarted_daemon_gets_its_listening_sockets_from_the_holder(start_machine: StartMachine) -> None:
    """With the s6 of the image, as the unprivileged user, and from the socket file to the port."""
    machine = await start_machine()
    await until_logged(machine, "are kept by the holder")
    await machine.exec("s6-svc", "-r", "/run/refreshd/service/refreshd")
    await until_logged(machine, '"taken_from_holder": 2, "bound": 0')
    await machine.exec("curl", "--fail", "--silent", "http://127.0.0.1:3000/healthz")


async def until_logged(machine: Machine, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in await machine.logs():  # noqa: ASYNC110 - another machine's log
            await asyncio.sleep(0.2)


async def test_machine_with_a_mount_has_the_hosts_code_before_it_is_healthy(
    start_machine: StartMachine, host: Path
) -> None:
    machine = await start_machine(mounts={host: "/local-iterate-repo:ro"})
    await until_healthy(machine)
    assert (await machine.exec("cat", "/home/iterate/repo/page.txt")).stdout == "A\n"
    version = json.loads((await machine.exec("refreshd", "version", "--json")).stdout)
    assert version["environment"] == "local-docker"
    assert version["running"]["sha"] == version["on_disk"]["sha"] == version["sha"] is not None


async def test_machine_whose_first_sync_fails_is_healthy_and_says_so(
    start_machine: StartMachine, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    machine = await start_machine(mounts={empty: "/local-iterate-repo:ro"})
    await until_healthy(machine)
    assert "THE FIRST SYNC FAILED" in await machine.logs()


# The supervision of this image's s6, with a daemon that tells on itself in the place of the checkout's.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "repo"
    write_fake_daemon(checkout)
    reports = tmp_path / "reports"
    reports.mkdir()
    reports.chmod(0o777)
    return checkout


async def until_reported(checkout: Path) -> None:
    reports = checkout.parent / "reports/reports.jsonl"
    await eventually(lambda: reports.exists() and reports.read_text().endswith("\n"), "a start of the daemon")


async def started(start_machine: StartMachine, checkout: Path, **behaviour: dict[str, Any]) -> Machine:
    reports = checkout.parent / "reports"
    (reports / "behaviour.json").write_text(json.dumps(behaviour))
    machine = await start_machine(
        env={"FAKE_DAEMON": "/reports"}, mounts={checkout: "/home/iterate/repo", reports: "/reports"}
    )
    await until_reported(checkout)
    return machine


async def test_daemon_of_the_checkout_runs_with_the_images_interpreter(
    start_machine: StartMachine, checkout: Path
) -> None:
    await started(start_machine, checkout)
    report = json.loads((checkout.parent / "reports/reports.jsonl").read_text().splitlines()[0])
    assert report["file"] == "/home/iterate/repo/daemon/__main__.py"
    assert report["executable"] == "/opt/refreshd/.venv/bin/python"


async def test_daemons_words_are_in_docker_logs_and_in_the_rotated_log(
    start_machine: StartMachine, checkout: Path
) -> None:
    machine = await started(start_machine, checkout, serve={"say": "a line of the daemon"})
    await until_logged(machine, "a line of the daemon\n")
    assert (await machine.exec("cat", "/var/log/refreshd/current")).stdout.endswith("  a line of the daemon\n")


async def test_docker_stop_ends_machine_with_0_and_at_once(start_machine: StartMachine, checkout: Path) -> None:
    machine = await started(start_machine, checkout)
    code, seconds = await machine.stop()
    assert code == 0
    assert seconds < 5
    assert '"end": "SIGTERM"' in (checkout.parent / "reports/reports.jsonl").read_text()


async def test_docker_stop_is_not_held_up_by_what_the_daemon_left(start_machine: StartMachine, checkout: Path) -> None:
    machine = await started(start_machine, checkout, serve={"orphan": 100})
    code, seconds = await machine.stop()
    assert code == 0, "killed after ten seconds"
    assert seconds < 10


async def test_machine_comes_back_after_docker_restart(start_machine: StartMachine, checkout: Path) -> None:
    machine = await started(start_machine, checkout)
    (checkout.parent / "reports/reports.jsonl").unlink()
    await machine.restart()
    await until_reported(checkout)

"""The status report of a real daemon, and of real services beside it."""

import asyncio
import json
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.health.resources import look_at_machine
from daemon.s6 import ScanDirectory
from tests.support.machine_root import MachineRoot
from tests.support.running import TOKEN, served


async def test_the_report_tells_process_machine_and_version(tmp_path: Path) -> None:
    async with served(tmp_path) as machine:
        machine.daemon.ready.set()
        child = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            answer = await machine.get("/api/v1/status")
        finally:
            child.kill()
            await child.wait()
    report = answer.json
    assert (answer.status, report["status"], report["reasons"], report["ready"]) == (200, "healthy", [], True)
    # a child of another moment may be there as well
    assert (child.pid, "sleep") in [(found["pid"], found["name"]) for found in report["process"]["children"]]
    assert report["process"]["memory_bytes"] > 1024**2
    assert 0 < report["machine"]["memory_available_bytes"] <= report["machine"]["memory_total_bytes"]
    assert report["machine"]["disks"][0]["path"] == str(tmp_path / "state")
    assert report["version"]["sha"] == (await machine.daemon.version.head.read())


async def test_a_daemon_that_has_not_verified_itself_is_starting(tmp_path: Path) -> None:
    async with served(tmp_path) as machine:
        report = (await machine.get("/api/v1/status")).json
    assert (report["status"], report["ready"]) == ("starting", False)


async def test_the_report_wants_the_token_over_tcp(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine:
        assert (await machine.get("/api/v1/status", tcp=True)).status == 401


def test_memory_is_that_of_the_container_where_it_has_a_limit(tmp_path: Path) -> None:
    mib = 1024**2
    (tmp_path / "memory.max").write_text(f"{100 * mib}\n")
    (tmp_path / "memory.current").write_text(f"{80 * mib}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {30 * mib}\n")
    found = look_at_machine((), tmp_path)
    assert (found.memory_total_bytes, found.memory_available_bytes) == (100 * mib, 50 * mib)
    (tmp_path / "memory.max").write_text("max\n")
    assert look_at_machine((), tmp_path).memory_total_bytes > 100 * mib


async def test_services_are_told_by_what_s6_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = MachineRoot(tmp_path)
    for name, script in (("web", "exec sleep 60"), ("broken", "exit 7")):
        folder = machine.define(name, type="longrun\n", run=f"#!/bin/sh\n{script}\n")
        (folder / "run").chmod(0o755)
    (machine.definitions / "broken" / "finish").write_text("#!/bin/sh\nexit 125\n")
    (machine.definitions / "broken" / "finish").chmod(0o755)
    scan = ScanDirectory(machine.run_dir)
    monkeypatch.setenv("REFRESHD_RUN_DIR", str(machine.run_dir))
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        await s6.service("broken").wait_down()
        assert {"broken", "refreshd", "web"} <= set(await scan.names())
        web, broken = await scan.status("web"), await scan.status("broken")
        assert web
        assert (web.up, web.ready, web.wanted_up) == (True, False, True)
        assert broken
        assert (broken.up, broken.wanted_up, broken.exit_code) == (False, False, 7)
        assert await scan.status("none") is None
        # the process is there and has just begun, and nothing listens
        assert await asyncio.to_thread(main, ["status", "--json"]) == 1
        status = json.loads(capsys.readouterr().out)
        assert (status["status"], status["supervised"]) == ("starting", "up")
        await s6.service("refreshd").down()
        assert await asyncio.to_thread(main, ["status", "--json"]) == 1
        status = json.loads(capsys.readouterr().out)
        assert (status["status"], status["supervised"]) == ("unhealthy", "down")


async def test_a_machine_without_s6_has_no_services(tmp_path: Path) -> None:
    scan = ScanDirectory(tmp_path, ("nothing",))
    assert await scan.names() == []
    assert await scan.status("refreshd") is None

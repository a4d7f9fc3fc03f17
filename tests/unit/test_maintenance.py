"""While code is put back before a start, clients are not left waiting for ever."""

import asyncio
from pathlib import Path

import pytest

import daemon.maintenance
from daemon.app import Daemon
from daemon.server.listening.binding import bind_tcp
from daemon.settings import Address, Settings
from tests.support.raw_http import exchange


async def test_clients_are_told_to_come_again_while_code_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Address("127.0.0.1", 0)
    (tcp,) = bind_tcp(address)
    over = asyncio.Event()

    async def slow(_: Daemon, *, crashing: bool) -> int:
        await over.wait()
        return int(crashing)

    monkeypatch.setattr(daemon.maintenance, "_put_right", slow)
    monkeypatch.setenv("S6_FDID_0", f"tcp:{address}#0")
    monkeypatch.setenv("S6_FD_0", str(tcp.dup().detach()))
    settings = Settings.from_environment(
        {
            "ITERATE_REPO": str(tmp_path),
            "REFRESHD_STATE_DIR": str(tmp_path / "state"),
            "REFRESHD_RUN_DIR": str(tmp_path / "run"),
            "REFRESHD_LISTEN": str(address),
            "REFRESHD_QUEUE_TIMEOUT": "0.05",
        }
    )
    recovering = asyncio.create_task(daemon.maintenance._recover(settings, crashing=True))
    answer = await asyncio.wait_for(exchange(tcp.getsockname()[1], "GET /healthz"), 10)
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, "5", "recovering")
    over.set()
    assert await recovering == 1
    tcp.close()

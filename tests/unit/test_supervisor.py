"""Readiness reaches s6 once, and leaving is asked for once."""

import os

from daemon.supervisor import Supervisor


async def test_readiness_is_one_newline_and_a_closed_descriptor() -> None:
    reader, writer = os.pipe()
    supervisor = Supervisor(writer)
    supervisor.ready()
    supervisor.ready()
    assert os.read(reader, 10) == b"\n"
    assert os.read(reader, 10) == b""
    os.close(reader)


async def test_a_descriptor_that_nobody_opened_does_not_end_the_daemon() -> None:
    Supervisor(999).ready()
    Supervisor(None).ready()


async def test_leaving_wakes_who_waits_for_it() -> None:
    supervisor = Supervisor()
    assert not supervisor.leaving.is_set()
    supervisor.leave()
    supervisor.leave()
    await supervisor.leaving.wait()

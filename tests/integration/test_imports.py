"""Whatever an update does to the files of the checkout, the daemon that does it runs on what it has in memory."""

import json
import subprocess
import sys

from tests.support.machine import PROJECT, HostMachine

# Wraps the machine's own daemon: from readiness on, every module that is looked for is written down.
RECORDER = """
import pathlib
import sys

from daemon.supervisor import Supervisor

seen = pathlib.Path(__file__).parents[2] / "imported-late"
ready = Supervisor.ready


def recording(self):
    ready(self)
    with seen.open("a") as out:
        print("ready", file=out)
    sys.addaudithook(lambda event, args: event == "import" and write(args[0]))
    import sched  # shows that one would be seen


def write(name):
    with seen.open("a") as out:
        print(name, file=out)


if "serve" in sys.argv:
    Supervisor.ready = recording
"""
RECORDED = {
    "daemon/__main__.py": (
        "import sys\nfrom daemon.cli import main\nimport daemon.recorder\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    ),
    "daemon/recorder.py": RECORDER,
}


async def test_nothing_is_imported_from_when_the_daemon_is_ready_until_an_update_has_restarted_it() -> None:
    async with HostMachine(files=RECORDED) as machine, machine.client() as client:
        await machine.service.wait_ready()
        update = await client.refresh(machine.upstream.commit({"file": "new\n"}))
        assert update.to_commit
        seen = (machine.folder / "imported-late").read_text().splitlines()
        # up to the readiness of the next process
        assert seen[: seen.index("ready", 1) + 1] == ["ready", "sched", "ready"]


def test_the_first_answer_needs_neither_the_engine_nor_a_source() -> None:
    program = (
        "import sys; from daemon.server.lean import import_server; import_server(); import daemon.commands, json;"
        "print(json.dumps([name for name in sys.modules if name.startswith(('daemon.', 'aiohttp.client'))]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=PROJECT)
    names = set(json.loads(ran.stdout))
    late = {"daemon.app", "daemon.engine", "daemon.models", "daemon.git", "daemon.sources", "aiohttp.client"}
    assert names & late == set()
    assert "daemon.server.front" in names

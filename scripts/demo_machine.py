"""What scripts/demo shows. Real s6, a real git server with a token, a real pnpm workspace, and the CLI as it is."""

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator

from daemon.client import Client, UnreachableError
from tests.support.machine import HostMachine

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the second machine up until Ctrl-C")
    keep = parser.parse_args().keep
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(demonstrate(keep=keep))
    return 0


async def demonstrate(*, keep: bool) -> None:
    heading("1. A machine whose code comes from a git server, as in a Daytona sandbox")
    async with machine_up(mounted=False) as machine:
        await refresh(machine, "over git", machine.upstream.release("2.0.0"))
    heading("2. A machine whose code comes from the host's mount, as in a local container")
    async with machine_up(mounted=True) as machine:
        machine.upstream.write({"packages/library/notes.txt": "not committed yet\n"})
        await refresh(machine, "from the mount", machine.upstream.release("3.0.0"))
        if keep:
            await stay(machine)


@contextlib.asynccontextmanager
async def machine_up(*, mounted: bool) -> AsyncIterator[HostMachine]:
    say("making a monorepo, its remote and a machine; starting the daemon under s6 ...")
    async with HostMachine(mounted=mounted) as machine:
        async with asyncio.timeout(60), Client(socket=machine.socket) as client:
            while not await answers(client):  # noqa: ASYNC110 - another process decides
                await asyncio.sleep(0.1)
        yield machine


async def answers(client: Client) -> bool:
    try:
        return await client.ready()
    except UnreachableError:
        return False


async def refresh(machine: HostMachine, how: str, commit: str) -> None:
    say("version A answers:")
    run(machine, "version")
    say(f"a developer commits release B, {commit[:12]}; the machine is refreshed {how}:")
    run(machine, "update", commit)
    say("version B answers, from a new process:")
    run(machine, "version")
    say("asking again changes nothing:")
    run(machine, "update", commit)
    say("what happened:")
    run(machine, "history")


async def stay(machine: HostMachine) -> None:
    say("the machine stays up until Ctrl-C. Talk to it:")
    for command in (
        f"uv run refreshd status --socket {machine.socket}",
        f"uv run refreshd update main --socket {machine.socket}",
        f"curl --unix-socket {machine.socket} http://localhost/api/v1/version",
        f'curl -H "Authorization: Bearer $(cat {machine.folder}/token)" {machine.url}/api/v1/updates',
    ):
        print(f"    {command}")
    print(f"    its code comes from {machine.upstream.tree}: edit, then update again", flush=True)
    await asyncio.Event().wait()


def run(machine: HostMachine, *words: str) -> None:
    print(f"{DIM}$ refreshd {' '.join(words)}{PLAIN}", flush=True)
    subprocess.run((sys.executable, "-m", "daemon", *words, "--socket", str(machine.socket)), check=True)
    print(flush=True)


def heading(text: str) -> None:
    print(f"\n{BOLD}{text}{PLAIN}\n", flush=True)


def say(text: str) -> None:
    print(f"{BOLD}>{PLAIN} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

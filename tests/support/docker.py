"""The project's image and machines made of it, by the `docker` command."""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
BUILD_PATIENCE = 540.0  # seconds: a cold build fetches all packages
PATIENCE = 60.0


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


class DockerFailedError(Exception):
    def __init__(self, arguments: tuple[str, ...], done: Done) -> None:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        super().__init__(f"docker {arguments[0]} ended with {done.code}:\n{tail}")


async def docker(*arguments: str, check: bool = True, timeout: float = PATIENCE) -> Done:  # noqa: ASYNC109 - it kills
    """Raises DockerFailedError unless `check` is False, TimeoutError."""
    child = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await child.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        raise
    done = Done(await child.wait(), stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    if check and done.code != 0:
        raise DockerFailedError(arguments, done)
    return done


async def engine_problem() -> str | None:
    """Why no engine can be used, None when one answers."""
    try:
        done = await docker("version", "--format", "{{.Server.Version}}", check=False)
    except FileNotFoundError:
        return "the docker command is not installed"
    except TimeoutError:
        return f"no Docker engine answers within {PATIENCE:g} s"
    return None if done.code == 0 else f"no Docker engine answers: {done.stderr.strip()}"


def context_hash() -> str:
    """Names the content of everything that the image is made of."""
    digest = hashlib.sha256()
    for path in _context():
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(PROJECT)} {executable} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _context() -> Iterator[Path]:
    """The files that .dockerignore lets through."""
    rules = (PROJECT / ".dockerignore").read_text().splitlines()
    for name in sorted(rule[1:] for rule in rules if rule.startswith("!")):
        path = PROJECT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


async def build_image(**build_args: str) -> str:
    """Returns the tag. Built once for each content, also where several test processes want it at the same time."""
    words = [f"{name}={value}" for name, value in sorted(build_args.items())]
    variant = hashlib.sha256("\n".join(words).encode()).hexdigest()[:8] if words else "plain"
    tag = f"refreshd-test:{await asyncio.to_thread(context_hash)}-{variant}"
    lock = Path(tempfile.gettempdir()) / "refreshd-test-image.lock"
    with lock.open("a") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        if (await docker("image", "inspect", tag, check=False)).code != 0:
            options = [option for word in words for option in ("--build-arg", word)]
            build = ("build", "--network", "host", "--tag", tag, *options, str(PROJECT))
            await docker(*build, timeout=BUILD_PATIENCE)
    return tag


class Machine:
    """One container. `mounts` maps host folders to `path` or `path:ro`; the port of the TCP listener is published."""

    def __init__(
        self,
        image: str,
        *,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.image = image
        self.name = f"refreshd-test-{secrets.token_hex(6)}"
        self.url = ""
        self._options = [f"--env={name}={value}" for name, value in (env or {}).items()]
        self._options += [f"--user={user}"] if user else []
        self._options += [f"--volume={folder}:{place}" for folder, place in (mounts or {}).items()]

    async def start(self) -> None:
        """The host is `host.docker.internal` in the machine, whose health is asked for each second."""
        host = "--add-host=host.docker.internal:host-gateway"
        around = ("--publish=127.0.0.1::3000", host, "--health-interval=1s")
        await docker("run", "--detach", f"--name={self.name}", *around, *self._options, self.image)
        await self._find_url()

    async def exec(self, *argv: str, user: str | None = None, check: bool = True) -> Done:
        options = (f"--user={user}",) if user else ()
        return await docker("exec", *options, self.name, *argv, check=check)

    async def logs(self) -> str:
        done = await docker("logs", self.name)
        return done.stdout + done.stderr

    async def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await docker("inspect", self.name)).stdout)[0]
        return found

    async def stop(self) -> tuple[int, float]:
        """The machine's exit code and how many seconds its end took."""
        began = time.monotonic()
        await docker("stop", self.name)
        seconds = time.monotonic() - began
        return (await self.inspect())["State"]["ExitCode"], seconds

    async def restart(self) -> None:
        await docker("restart", self.name)
        await self._find_url()

    async def remove(self) -> None:
        await docker("rm", "--force", "--volumes", self.name, check=False)

    async def _find_url(self) -> None:
        address = (await docker("port", self.name, "3000/tcp")).stdout.splitlines()[0]
        self.url = f"http://{address}"

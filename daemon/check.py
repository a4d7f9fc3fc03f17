"""The new code is imported and configured by a child before anything restarts; its byte code is written on the way.

Most of what an import takes is libraries. So the child is started while the update is still being fetched, imports
the old code with all its libraries, and waits; told to, it forgets the old code and imports what is on disk by then.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from daemon.errors import CheckError, CommandFailedError, CommandTimeoutError, RefreshdError
from daemon.process import Command, Result, run


class _Warm:
    """A child that has its libraries and reads a byte from the pipe `go` before it goes on."""

    def __init__(self, running: asyncio.Task[Result], go: int) -> None:
        self.running = running
        self._go: int | None = go
        self._told_at = 0.0

    @property
    def gave_up(self) -> bool:
        """It ended without having been told anything."""
        return self._go is not None and self.running.done()

    def let_go(self) -> None:
        """Once; later calls do nothing."""
        if self._go is not None:
            os.write(self._go, b"\n")
            self._close()
            self._told_at = asyncio.get_running_loop().time()

    async def result(self, seconds: float) -> Result:
        """The limit counts from when it was told to go on."""
        self.let_go()
        async with asyncio.timeout_at(self._told_at + seconds):
            return await self.running

    async def end(self) -> None:
        self._close()
        self.running.cancel()
        with contextlib.suppress(RefreshdError, asyncio.CancelledError):
            await self.running

    def _close(self) -> None:
        if self._go is not None:
            os.close(self._go)
            self._go = None


class Checker:
    """Runs `refreshd check` from the code that is on disk.

    `launcher` starts the checkout's daemon as the supervisor will; without one this interpreter does.
    `environment` holds the settings, which children do not inherit; no secret is in it. Seconds: `timeout` for the
    import, `patience` for how long a warm child may wait to be told.
    """

    def __init__(
        self,
        *,
        code_path: Path,
        launcher: Path | None,
        environment: Mapping[str, str],
        timeout: float,
        patience: float,
    ) -> None:
        self._code_path = code_path
        self._start = (launcher,) if launcher else (sys.executable, "-m", "daemon")
        self._environment = environment
        self._timeout = timeout
        self._patience = patience
        self._warm: _Warm | None = None

    def warm(self) -> None:
        """Starts a child for the next `check`."""
        if self._warm is None:
            wait, go = os.pipe()
            command = self._command("--after-fd", str(wait), timeout=self._patience, pass_fds=(wait,))
            self._warm = _Warm(asyncio.create_task(_run_and_close(command, wait)), go)

    def begin(self) -> None:
        """Lets a warm child go on already; `check` then awaits it. The code on disk has to be complete."""
        if self._warm and not self._warm.running.done():
            self._warm.let_go()

    async def cool(self) -> None:
        """Ends the child that `warm` started, if it was not needed."""
        if self._warm:
            warm, self._warm = self._warm, None
            await warm.end()

    async def check(self, *, new_libraries: bool) -> str:
        """Returns the version of the new code. Raises CheckError with the tail of what it printed.

        With `new_libraries`, what a warm child has imported is not what the new code will meet: a fresh one does it.
        """
        if new_libraries:
            await self.cool()
        try:
            return _version((await self._result()).text)
        except CommandFailedError as error:
            reason = f"it ends with exit code {error.exit_code} when it is imported and configured"
            raise CheckError(reason=reason, detail=error.detail) from None
        except (CommandTimeoutError, TimeoutError) as error:
            detail = error.detail if isinstance(error, CommandTimeoutError) else ""
            raise CheckError(reason=f"it was not imported within {self._timeout:g} s", detail=detail) from None
        except CheckError:
            raise
        except RefreshdError as error:
            raise CheckError(reason=str(error)) from None

    async def _result(self) -> Result:
        if self._warm is None or self._warm.gave_up:
            await self.cool()
            return await run(self._command(timeout=self._timeout))
        warm = self._warm
        try:
            return await warm.result(self._timeout)
        finally:
            self._warm = None

    def _command(self, *words: str, timeout: float, pass_fds: tuple[int, ...] = ()) -> Command:
        return Command(
            argv=(*self._start, "check", *words),
            cwd=self._code_path,
            env=self._environment,
            timeout=timeout,
            pass_fds=pass_fds,
            shown="refreshd check",
        )


async def _run_and_close(command: Command, descriptor: int) -> Result:
    try:
        return await run(command)
    finally:
        os.close(descriptor)


def _version(text: str) -> str:
    """The last line is the verdict; whatever an import printed stands before it."""
    try:
        verdict = json.loads(text.splitlines()[-1])
        return str(verdict["version"])
    except (ValueError, LookupError, TypeError):
        raise CheckError(reason="it did not answer as `refreshd check` does", detail=text[-500:]) from None

"""The new code is imported and configured by a child before anything restarts; its byte code is written on the way.

Most of what an import takes is libraries. So the child is started as soon as it is known that the daemon itself is
going to change, imports the old code with all its libraries, and waits; told to, it forgets the old code and imports
what is on disk by then. Where the daemon is the one that runs already, nothing is tried: that it runs is the proof.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon import __version__
from daemon.errors import CheckError, CommandFailedError, CommandTimeoutError, RefreshdError
from daemon.own_code import OwnCode
from daemon.process import Command, Result, run
from daemon.tasks import ended
from daemon.trees import Tree


class _Warm:
    """A child that imports the old code with its libraries, says so, and waits for a byte before it goes on."""

    def __init__(self, command: Callable[[int], Command]) -> None:
        self._line, self._other_end = socket.socketpair()
        self._line.settimeout(0)
        self._running = asyncio.create_task(run(command(self._other_end.fileno())))
        self._told_at: float | None = None

    def let_go(self) -> None:
        """Once; later calls do nothing."""
        if self._told_at is None and not self._running.done():
            self._line.send(b"\n")
            self._told_at = asyncio.get_running_loop().time()

    async def result(self, seconds: float) -> Result | None:
        """The limit counts from when it was told to go on. None when it never came to the new code."""
        self.let_go()
        try:
            if self._told_at is None:
                return None
            async with asyncio.timeout_at(self._told_at + seconds):
                return await self._running
        except (RefreshdError, TimeoutError):
            if self._has_its_libraries():
                raise
            return None
        finally:
            await self.end()

    def _has_its_libraries(self) -> bool:
        try:
            return bool(self._line.recv(1))
        except OSError:
            return False

    async def end(self) -> None:
        self._line.close()
        try:
            await ended(self._running)
        finally:
            self._other_end.close()


class Checker:
    """Runs `refreshd check` from the code that is on disk.

    `launcher` starts the checkout's daemon as the supervisor will; without one this interpreter does.
    `environment` holds the settings, which children do not inherit; no secret is in it. `own` is the code of this
    process, where that is the checkout's. Seconds: `timeout` for the import, `patience` for how long a warm child may
    wait to be told.
    """

    def __init__(
        self,
        *,
        code_path: Path,
        launcher: Path | None,
        environment: Mapping[str, str],
        timeout: float,
        patience: float,
        own: OwnCode | None = None,
    ) -> None:
        self._own = own
        self._code_path = code_path
        self._start = (launcher,) if launcher else (sys.executable, "-m", "daemon")
        self._environment = environment
        self._timeout = timeout
        self._patience = patience
        self._warm: _Warm | None = None
        self._own_ids: Mapping[str, str] | None = None

    async def foresee(self) -> None:
        """Reads what the next `warm` compares, while there is time. Should that change, `check` will know."""
        self._own_ids = await self._own.ids() if self._own else None

    async def warm(self, tree: Tree) -> None:
        """Starts a child for the next `check`, if the daemon of `tree` has to be tried."""
        ids, self._own_ids = self._own_ids, None
        if self._warm is None and not (self._own and await self._own.is_in(tree, ids)):
            self._warm = _Warm(self._warm_command)

    def begin(self) -> None:
        """Lets a warm child go on already; `check` then awaits it. The code on disk has to be complete."""
        if self._warm:
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
        is_proven = not new_libraries and self._own is not None and await self._own.unchanged()
        if is_proven or new_libraries:
            await self.cool()
        if is_proven:
            return __version__
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
        """One that fails before it has its libraries says something of the old code: a fresh one has the word then."""
        warm, self._warm = self._warm, None
        result = await warm.result(self._timeout) if warm else None
        return result or await run(self._command(timeout=self._timeout))

    def _warm_command(self, line: int) -> Command:
        return self._command("--after-fd", str(line), timeout=self._patience, pass_fds=(line,))

    def _command(self, *words: str, timeout: float, pass_fds: tuple[int, ...] = ()) -> Command:
        return Command(
            argv=(*self._start, "check", *words),
            cwd=self._code_path,
            env=self._environment,
            timeout=timeout,
            pass_fds=pass_fds,
            shown="refreshd check",
        )


def _version(text: str) -> str:
    """The last line is the verdict; whatever an import printed stands before it."""
    try:
        verdict = json.loads(text.splitlines()[-1])
        return str(verdict["version"])
    except (ValueError, LookupError, TypeError):
        raise CheckError(reason="it did not answer as `refreshd check` does", detail=text[-500:]) from None

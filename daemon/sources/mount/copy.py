"""Copies listed files from the mount into the checkout with rsync."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import CheckoutError, CommandFailedError, MountError
from daemon.process import Command, run
from daemon.sources.blame import blame

SOME_FAILED = 23
SOME_VANISHED = 24

_RSYNC = (
    "rsync",
    "--files-from=-",
    "--from0",
    "--links",
    "--perms",
    "--no-owner",
    "--no-group",
    # what the checkout needs to work in its folders, and no privileges from the host
    "--chmod=Du+rwx,ug-s",
    # size and time prove nothing: a branch switch in the same second leaves both
    "--checksum",
    # a folder here makes way for a file from there
    "--force",
)
# without --times on purpose: the time says when a file came here, which is what byte code caches and watchers go by
_HERE = ("[generator]", "[receiver]")


@dataclass(frozen=True, kw_only=True)
class Copier:
    """`timeout` is in seconds and for each copy."""

    mount: Path
    checkout: Path
    timeout: float

    async def copy(self, files: Iterable[bytes], *, aside: Path | None) -> None:
        """Each file is written to the folder `aside`, or beside its place, and renamed: a reader sees old or new.

        Symlinks in the way of a path make way too, so that nothing is written outside of the checkout.
        Raises CommandFailedError; with SOME_FAILED and SOME_VANISHED everything else has been copied.
        """
        scratch = [] if aside is None else [b"--temp-dir=" + os.fsencode(aside)]
        command = Command(
            argv=(*_RSYNC, *scratch, "--", f"{self.mount}/", f"{self.checkout}/"),
            cwd=self.checkout,
            timeout=self.timeout,
            # rsync takes the slash off again; without it, a name that begins with # or ; is a comment
            stdin=b"".join(b"/" + path + b"\0" for path in sorted(files)),
            shown="rsync",
        )
        await run(command)

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """Raises MountError, CheckoutError or NoSpaceError for an rsync that failed inside."""
        try:
            yield
        except CommandFailedError as error:
            here = any(role in error.detail for role in _HERE)
            kind, path = (CheckoutError, self.checkout) if here else (MountError, self.mount)
            raise blame(error, kind, path) from error

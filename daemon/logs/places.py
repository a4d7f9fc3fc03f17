"""Where the log of a service is: where its logger says, else in a folder of its name beside the daemon's own."""

import asyncio
import os
from pathlib import Path

from daemon.errors import NotFoundError
from daemon.s6 import OURS, ScanDirectory, is_service_name


class Places:
    def __init__(self, log_dir: Path, scan: ScanDirectory) -> None:
        self._log_dir = log_dir
        self._scan = scan

    async def find(self, service: str = OURS) -> Path:
        """Raises NotFoundError."""
        if service == OURS:
            return self._log_dir
        if not is_service_name(service):
            raise NotFoundError(what=f"a service {service[:40]!r}")
        # s6-rc makes a service of each logger, plain s6 keeps it inside the service that it reads
        for status in (await self._scan.logger(service), await self._scan.status(service)):
            if status and status.pid:
                folder = await asyncio.to_thread(_folder_of_logger, status.pid)
                if folder:
                    return folder
        beside = self._log_dir.parent / service
        if not await asyncio.to_thread((beside / "current").exists):
            raise NotFoundError(what=f"a log of the service {service!r}")
        return beside


def _folder_of_logger(pid: int) -> Path | None:
    """The first folder in the arguments of an s6-log; relative ones are of a folder that others may not look up."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if os.path.basename(words[0]) != b"s6-log":  # noqa: PTH119 - bytes
        return None
    return next((Path(os.fsdecode(word)) for word in words[1:] if word.startswith(b"/")), None)

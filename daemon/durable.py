"""An update is on the disk, and not only in memory, before the process that it is for starts.

Git, rsync and the installers leave the bytes of files to the kernel, which writes them when it likes. A power cut would
leave names without content, and new code that seems to be there. So the way back is sure until all is written.
"""

from pathlib import Path

from daemon.errors import CommandTimeoutError
from daemon.full_disk import disk_full_blamed
from daemon.log import get_logger
from daemon.process import Command, run

log = get_logger()


async def flush(folder: Path, limit: float) -> None:
    """Returns when the file system of `folder` has written all that it was given.

    What others give it counts too, so a disk that takes longer than `limit` seconds is not waited for: the log says so.
    Raises NoSpaceError, and CommandFailedError for a disk that cannot keep what it was given.
    """
    try:
        with disk_full_blamed(folder):
            await run(Command(argv=("sync", "-f", folder), cwd=folder, timeout=limit, shown="sync"))
    except CommandTimeoutError as error:
        log.warning("the update may not survive a power cut yet", folder=str(folder), error=str(error))

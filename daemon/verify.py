"""Is the machine what an update meant it to be? Asked by the new process before it says that it is ready.

The update is judged by what it did itself, and by that alone. Somebody may work in the checkout all the while: a file
that is edited, added or removed after the update put its files there makes the checkout dirty, and the update no less a
success. It has failed where HEAD, the running code or the dependencies are not the ones that it recorded, and where of
the files that it changed every single one is what it was before.
"""

from daemon.errors import CommandFailedError, VerifyError
from daemon.git import some
from daemon.log import get_logger
from daemon.machinery import Machinery, short
from daemon.models import Update

log = get_logger()


async def compare(machinery: Machinery, update: Update) -> list[str]:
    """Returns notes for the record. Raises VerifyError."""
    await _compare_commits(machinery, update)
    await _compare_dependencies(machinery, update)
    return await _compare_files(machinery, update)


async def _compare_commits(machinery: Machinery, update: Update) -> None:
    if update.to_commit is None:
        return
    head = await machinery.head.read()
    for what, sha in (("the checkout is", head), ("this process runs", machinery.running_sha)):
        if sha != update.to_commit:
            raise VerifyError(reason=f"{what} at {short(sha)} and not at {short(update.to_commit)}")


async def _compare_dependencies(machinery: Machinery, update: Update) -> None:
    """The markers of the last success are compared: new code has to read what old code has written."""
    for installer in machinery.installers:
        wanted = update.installed.get(installer.name)
        if wanted is not None and await installer.installed() != wanted:
            raise VerifyError(reason=f"the dependencies that it installed with {installer.name} are not there any more")


async def _compare_files(machinery: Machinery, update: Update) -> list[str]:
    snapshots = machinery.snapshots
    if update.snapshot is None or update.tree is None:
        return []
    try:
        if await snapshots.trees.reached(update.snapshot, update.tree) or not await snapshots.trees.edited(update.tree):
            return []
        now = await snapshots.tree()
        changed = await snapshots.trees.differing(update.snapshot, update.tree)
        edited = changed & await snapshots.trees.differing(update.tree, now)
        if edited and not changed & await snapshots.trees.differing(update.snapshot, now):
            raise VerifyError(reason=f"{some(edited)} and all else that it changed is what it was before")
    except CommandFailedError as error:
        # a repository of snapshots that cannot be read says nothing of the checkout
        log.warning("files of the update cannot be compared", error=str(error), detail=error.detail)
        return []
    return [f"changed since the update put them there: {some(edited)}"] if edited else []

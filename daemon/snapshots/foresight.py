"""What a look would find if nobody had touched anything since the last one, made ready while a remote is asked.

It never is the snapshot: a look that follows decides, and where it finds the index as it was left here, and so every
file, it need not ask git for the tree, for what differs from HEAD, and whether the repository is sound.
"""

import asyncio
from dataclasses import dataclass

from daemon.errors import RefreshdError
from daemon.log import get_logger
from daemon.snapshots.repository import SnapshotRepository, how_to_store
from daemon.snapshots.touched import MOST, tree_with
from daemon.snapshots.trees import Trees
from daemon.stamps import Stamp, stamp
from daemon.tasks import together

log = get_logger()


@dataclass(frozen=True)
class Foreseen:
    """`index` is what the index was left as; `edits` tells how the tree differs from `head`."""

    head: str
    message: str
    tree: str
    edits: bytes
    index: Stamp


async def foresee(repository: SnapshotRepository, head: str, message: str) -> Foreseen | None:
    """Costs what was touched since the last look. None where a look has to find out. For the lock's holder."""
    try:
        return await _foresee(repository, head, message)
    except (RefreshdError, OSError) as error:
        # the look will meet it, and say what is wrong
        log.info("snapshot cannot be foreseen", error=str(error))
        return None


async def _foresee(repository: SnapshotRepository, head: str, message: str) -> Foreseen | None:
    if await asyncio.to_thread(repository.is_empty) or await repository.submodules():
        return None
    await asyncio.to_thread(repository.tidy, ())
    git = await repository.git_with_checkout()
    words = ("diff-index", "--cached", "-z", "--no-renames", "--name-only", head)
    names = (await git(*words)).stdout.split(b"\0")[:-1]
    # what the last update touched is not in the index yet
    own = repository.git(config=how_to_store(much=False))
    tree = await tree_with(own, names) if len(names) <= MOST else None
    if tree is None:
        return None
    trees = Trees(repository)
    _, edits = await together(trees.walk(tree), trees.edits(head, tree))
    index = await asyncio.to_thread(stamp, repository.index)
    return Foreseen(head=head, message=message, tree=tree, edits=edits or b"", index=index)

"""A look at the files alone that an update touched, where a look at the whole tree would find nothing else of it."""

from collections.abc import Collection

from daemon.git import Git
from daemon.log import get_logger

MOST = 1000  # names; with more of them a look at everything costs little more, and stores them in one pack

# what they say decides about files that nobody touched
_RULES = frozenset({b".gitignore", b".gitmodules", b".gitattributes"})

log = get_logger()


def tells_all(names: Collection[bytes]) -> bool:
    """Whether these names are all that can differ when they were touched."""
    return len(names) <= MOST and _RULES.isdisjoint(name.rpartition(b"/")[2] for name in names)


async def tree_with(git: Git, names: Collection[bytes]) -> str | None:
    """The tree of the index with these files as they are now, None where git cannot take them one by one."""
    return (await git("write-tree")).text if await put_in_index(git, names) else None


async def put_in_index(git: Git, names: Collection[bytes]) -> bool:
    """These files as they are now. False where git cannot take them one by one."""
    if not names:
        return True
    words = ("update-index", "--add", "--remove", "--replace", "-z", "--stdin")
    done = await git(*words, stdin=b"".join(name + b"\0" for name in sorted(names)), ok_codes=range(256))
    if done.code:
        # a link in place of a folder, for one
        log.info("files that were touched need a look at the whole tree", output=done.tail)
    return not done.code

"""Partial clones: what the remote was trusted to keep is fetched before the checkout needs it."""

from daemon.errors import CommandFailedError, RemoteError
from daemon.sources.checkout import Repository
from daemon.sources.git.remote import Remote
from daemon.sources.git.urls import shown

_ROUNDS = 5  # missing folders hide what is missing in them


async def fetch_promised(remote: Remote, commit: str) -> None:
    """Leaves nothing to be fetched by a checkout of `commit` over HEAD. Raises what `Remote.fetch_objects` raises."""
    for _ in range(_ROUNDS):
        wanted = await _wanted(remote.repository, commit)
        if not wanted:
            return
        await remote.fetch_objects(wanted)
    raise RemoteError(
        ref=remote.asked, remote=shown(remote.url), reason="it does not hand out all objects of the commit"
    )


async def _wanted(repository: Repository, commit: str) -> frozenset[str]:
    missing = await repository.missing(commit) or frozenset()
    if not missing or not repository.head:
        return missing
    try:
        # a sparse checkout leaves files out for good: only what differs from HEAD is going to be written
        differing = await repository.git("diff-tree", "-r", "-z", "--raw", "--no-renames", repository.head, commit)
    except CommandFailedError:
        return missing  # a folder is missing, so that git cannot compare
    records = differing.text.split("\0")
    return missing & {record.split()[3] for record in records if record.startswith(":")}

"""The sentences about a mount that its caller should know although nothing failed."""

from collections.abc import Collection, Iterator

from daemon.git import some
from daemon.refs import Ref, RefKind
from daemon.sources.checkout import Repository
from daemon.sources.mount.host import HostRepository
from daemon.sources.mount.list import Listing


def host_notes(host: HostRepository, asked: Ref) -> Iterator[str]:
    """What could not be known, and where the mount, which is what counts, is not at what was asked for."""
    if host.problem:
        yield f"{host.problem}: its commit is not known"
    if not host.readable:
        yield "not copied, if there are any: files that the host's git tracks although .gitignore matches them"
    if asked.kind is RefKind.COMMIT:
        if host.commit not in {None, asked.name}:
            yield f"the mount is at {host.commit}, not at the requested {asked.name}"
    elif host.ref and asked.name != "HEAD" and host.ref not in asked.candidates():
        yield f"the mount is on {host.ref}, not on the requested {asked.name}"


def head_notes(checkout: Repository, commit: str | None, *, current: bool) -> Iterator[str]:
    if commit is None:
        yield f"HEAD stays at {checkout.head or 'no commit'}, which says nothing of the files"
    elif checkout.branch and checkout.head and not current:
        yield f"HEAD was on {checkout.branch} and is now detached at the mount's commit"


def listing_notes(listing: Listing) -> Iterator[str]:
    for why, paths in (
        ("not copied, because it is no file", listing.special),
        ("not copied, although the host's git does not ignore it", listing.machine_own),
        ("not copied, because it is a repository of its own", listing.repositories),
        ("not copied, because the host's sparse checkout leaves it out", listing.sparse),
    ):
        if paths:
            yield f"{why}: {some(paths)}"


def displaced_note(displaced: Collection[bytes]) -> Iterator[str]:
    if displaced:
        yield f"removed, because a file of the mount takes the place of its folder: {some(displaced)}"

"""Making the commit present that was asked for, and finding out what it is: at the remote only if it has to be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.errors import CheckoutError, RefNotFoundError
from daemon.git import Git
from daemon.refs import Ref, RefKind
from daemon.sources.checkout import missing
from daemon.sources.git.remote import FETCHED, Remote
from daemon.sources.git.tree import LIST
from daemon.sources.git.urls import shown
from daemon.tasks import together

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{7,39}")
_HINTS = {
    RefKind.COMMIT: "it has no such commit; was it pushed?",
    RefKind.NAME: "it is neither a branch nor a tag there",
    RefKind.BRANCH: "there is no such branch",
    RefKind.FULL: "there is no such ref",
}


@dataclass(frozen=True)
class Located:
    """A commit that is present, and the id of its tree. `name`: the full name that led to it.

    `files`: their list, and `difference`: what `Repository.difference` says of it; each where git could tell.
    """

    commit: str
    tree: str
    name: str | None
    files: bytes | None
    difference: bytes | None


async def missing_of(git: Git, ref: Ref) -> frozenset[str] | None:
    """Of what was asked for, where that is an id."""
    return await missing(git, ref.name) if ref.kind is RefKind.COMMIT else None


async def locate(remote: Remote, ref: Ref, candidates: Sequence[str], absent: frozenset[str] | None) -> Located:
    """Makes the commit present. `absent`: what `missing_of` says. Raises RefNotFoundError and `fetch`'s."""
    if ref.kind is RefKind.COMMIT:
        await _ensure_commit(remote, ref, absent)
        return await _commit_behind(remote, ref, ref.name, None)
    refuse_without_url(remote)
    if remote.repository.shallow:
        return await _locate_in_shallow(remote, ref, candidates)
    # the branch by its full name is the common case, and costs one connection
    for name in candidates:
        try:
            await remote.fetch(name)
        except RefNotFoundError:
            continue
        return await _commit_behind(remote, ref, FETCHED, name)
    raise _not_found(remote, ref)


async def _ensure_commit(remote: Remote, ref: Ref, absent: frozenset[str] | None) -> None:
    repository = remote.repository
    if absent is None or (absent and not repository.partial):
        refuse_without_url(remote)
        try:
            await remote.fetch(ref.name, depth=1 if repository.shallow else None)
        except RefNotFoundError:
            raise _not_found(remote, ref) from None


async def _locate_in_shallow(remote: Remote, ref: Ref, candidates: Sequence[str]) -> Located:
    """Asks for the id first: a shallow fetch of a commit that is here would cut its history off."""
    found = await remote.find(candidates)
    if found is None:
        raise _not_found(remote, ref)
    name, commit = found
    if await remote.repository.missing(commit) != frozenset():
        await remote.fetch(commit, depth=1)
    return await _commit_behind(remote, ref, commit, name)


async def _commit_behind(remote: Remote, ref: Ref, what: str, name: str | None) -> Located:
    """`what` is an id or a ref of ours."""
    repository = remote.repository
    found, listed, difference = await together(
        _found(remote, what),
        repository.git(*LIST, what, ok_codes=(0, 128)),
        repository.difference_if_known(what),
    )
    if found is None:
        raise RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint="it is there but leads to no commit")
    return Located(*found, name, None if listed.code else listed.stdout, difference)


async def _found(remote: Remote, what: str) -> tuple[str, str] | None:
    found = await remote.repository.peeled_with_tree(what)
    if found and found[0] != remote.repository.head and remote.listener:
        remote.listener.found()
    return found


def refuse_without_url(remote: Remote) -> None:
    if not remote.url:
        reason = "it has no remote named origin; add one, or set REFRESHD_GIT_URL"
        raise CheckoutError(path=str(remote.repository.folder), reason=reason)


def _not_found(remote: Remote, ref: Ref) -> RefNotFoundError:
    abbreviated = ref.kind is RefKind.NAME and _ABBREVIATED.fullmatch(ref.name)
    hint = "give all 40 digits of a commit id, or a branch or tag that exists" if abbreviated else _HINTS[ref.kind]
    return RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint=hint)

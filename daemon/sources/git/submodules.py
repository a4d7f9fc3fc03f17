"""Submodules, to any depth: their commits are fetched in staging, so that applying them needs no network.

A submodule that is checked out is fetched into where it is; for a new one a repository is prepared where git will look
for it. Staging and applying walk the same tree, from a commit to the submodules that it names.
"""

import asyncio
from dataclasses import dataclass, field, replace

from daemon.errors import CheckoutError, CommandFailedError, RefNotFoundError, RemoteError
from daemon.git import Git
from daemon.sources.blame import blamed
from daemon.sources.checkout import Repository, effective_url
from daemon.sources.git.credentials import Credentials
from daemon.sources.git.gitmodules import Submodule, UnusableSubmoduleError, read_submodules
from daemon.sources.git.modules import checked_out, module_of
from daemon.sources.git.remote import Deadline, Remote
from daemon.sources.git.urls import is_local, shown

MAX_DEPTH = 8


@dataclass
class SubmoduleStage:
    """Fetches what the submodules of a commit need. `paths` are theirs, from the top folder on."""

    credentials: Credentials
    deadline: Deadline
    asked: str
    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def fetch(
        self,
        parent: Repository,
        commit: str,
        base: str,
        *,
        above: tuple[str, ...] = (),
        files: bytes | None = None,
    ) -> None:
        """`base` is the URL of `parent`, for relative ones; `files` is the list of the commit's, where it is known.

        Raises RemoteError, RefNotFoundError, CheckoutError.
        """
        if len(above) > MAX_DEPTH:
            raise self._refused(base, f"its submodules are nested deeper than {MAX_DEPTH}")
        for submodule in await self._listed(parent, commit, base, files):
            path = "/".join((*above, submodule.path))
            module = await module_of(parent, submodule)
            if await module.missing(submodule.commit) != frozenset():
                await self._fetch_commit(module, submodule, shallow=submodule.shallow or parent.shallow)
            self.paths.append(path)
            await self.fetch(module, submodule.commit, submodule.url, above=(*above, submodule.path))

    async def _listed(self, parent: Repository, commit: str, base: str, files: bytes | None) -> tuple[Submodule, ...]:
        local_allowed = bool(base) and is_local(base)
        try:
            return await read_submodules(parent.git, commit, base=base, local_allowed=local_allowed, listed=files)
        except UnusableSubmoduleError as error:
            raise self._refused(base, str(error)) from None
        except CommandFailedError as error:
            raise self._refused(base, "its .gitmodules cannot be read", error.detail) from error

    async def _fetch_commit(self, module: Repository, submodule: Submodule, *, shallow: bool) -> None:
        depth = 1 if module.shallow or (shallow and module.head is None) else None
        if module.origin:
            try:
                await self._remote(module, module.origin, "origin").fetch(submodule.commit, depth=depth)
            except RefNotFoundError:
                # the commit may name another URL than the one that this submodule was made from
                if submodule.url == module.config["remote.origin.url"]:
                    raise
            else:
                return
        url = await effective_url(module.git, submodule.url)
        await self._remote(module, url, None).fetch(submodule.commit, depth=depth)

    def _remote(self, module: Repository, url: str, name: str | None) -> Remote:
        return Remote(
            repository=module,
            url=url,
            name=name,
            credentials=self.credentials,
            deadline=self.deadline,
            asked=self.asked,
        )

    def _refused(self, url: str, reason: str, detail: str = "") -> RemoteError:
        return RemoteError(ref=self.asked, remote=shown(url), reason=reason, detail=detail)


async def check_out_submodules(parent: Repository, commit: str, base: str) -> None:
    """For a `parent` at `commit` already. Raises CheckoutError, CommandTimeoutError."""
    listed = await _known(parent, commit, base)
    if not listed:
        return
    if parent.origin is None:
        await _configure_urls(parent, listed)
    git = _literal(parent)
    words = ("submodule", "--quiet", "update", "--init", "--force", "--no-fetch", "--checkout", "--")
    with blamed(CheckoutError, parent.folder):
        await parent.locks.guarded(lambda: git(*words, *(submodule.path for submodule in listed)))
    for submodule in listed:
        child = await Repository.open(parent.folder / submodule.path, limit=parent.git.timeout)
        await check_out_submodules(child, submodule.commit, submodule.url)


async def leaving(repository: Repository, commit: str, base: str, *, files: bytes | None = None) -> dict[str, bool]:
    """Paths of submodules that HEAD has and `commit` has not; true for those that hold nothing of the user's."""
    if repository.head is None or repository.head == commit:
        return {}
    try:
        before = {submodule.path for submodule in await _known(repository, repository.head, base)}
    except (CheckoutError, CommandFailedError):
        return {}  # what HEAD says of them is unusable: that must not stand in the way of leaving it
    if not before:
        return {}
    gone = before - {submodule.path for submodule in await _known(repository, commit, base, files)}
    here = [path for path in sorted(gone) if await checked_out(repository.folder / path)]
    return {path: await _holds_nothing(repository, path) for path in here}


async def remove_submodule(repository: Repository, path: str) -> None:
    """Its folder; its repository stays, with all commits. Raises CheckoutError."""
    git = _literal(repository)
    with blamed(CheckoutError, repository.folder):
        await repository.locks.guarded(lambda: git("submodule", "--quiet", "deinit", "--force", "--", path))


def _literal(repository: Repository) -> Git:
    """For commands that are given paths, in which a * is a *."""
    return replace(repository.git, env={**repository.git.env, "GIT_LITERAL_PATHSPECS": "1"})


async def _known(repository: Repository, commit: str, base: str, files: bytes | None = None) -> tuple[Submodule, ...]:
    try:
        return await read_submodules(repository.git, commit, base=base, local_allowed=True, listed=files)
    except UnusableSubmoduleError as error:
        raise CheckoutError(path=str(repository.folder), reason=str(error)) from None


async def _configure_urls(parent: Repository, listed: tuple[Submodule, ...]) -> None:
    """Without an origin git would take a relative URL for a path on this machine."""
    with blamed(CheckoutError, parent.folder):
        for submodule in listed:
            option = f"submodule.{submodule.name}.url"
            if option not in parent.config:
                await parent.git("config", option, shown(submodule.url))


async def _holds_nothing(repository: Repository, path: str) -> bool:
    folder = repository.folder / path
    # one whose repository is in its folder would go with it
    if not await asyncio.to_thread((folder / ".git").is_file):
        return False
    module = await Repository.open(folder, limit=repository.git.timeout)
    status = await module.git("status", "--porcelain", "-z", "--ignored", "--ignore-submodules=none")
    return not status.stdout

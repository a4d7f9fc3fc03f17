"""Which commits of the remote may come: those of allowed refs, and, where signers are named, signed by one of them.

A commit id alone proves nothing: a hosting service serves any commit of a fork network by its id, whoever pushed it.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from daemon.errors import CommandFailedError, RefNotAllowedError
from daemon.git import Git
from daemon.refs import Ref
from daemon.sources.git.remote import Remote, digest

MOST_REFS = 500
_VOUCHING = "refs/refreshd/allowed/"
# what the checkout's owner could have put there to pass one commit off as another
_AS_IT_IS = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": "/dev/null"}
_PROGRAMS = {
    "gpg.ssh.program": "ssh-keygen",
    "gpg.ssh.revocationFile": "",
    "gpg.minTrustLevel": "fully",
    # only SSH keys count: what other keyrings of this user hold was not named
    "gpg.openpgp.program": "false",
    "gpg.x509.program": "false",
}


@dataclass(frozen=True)
class RefPolicy:
    """`patterns` as in `main`, `release/*` or `refs/tags/v*`; one without refs/ is of branches. Empty: everything."""

    patterns: tuple[str, ...] = ()
    signers: Path | None = None

    def __bool__(self) -> bool:
        """Whether it narrows anything."""
        return bool(self.patterns or self.signers)

    def candidates(self, ref: Ref) -> tuple[str, ...]:
        """The full names that `ref` may stand for. Raises RefNotAllowedError where none of them may be asked for."""
        names = ref.candidates()
        allowed = tuple(filter(self.allows, names))
        if names and not allowed:
            reason = f"only {', '.join(self.patterns)} may be asked for (REFRESHD_REFS)"
            raise RefNotAllowedError(ref=ref.name, reason=reason)
        return allowed

    def allows(self, name: str) -> bool:
        full = (pattern if pattern.startswith("refs/") else f"refs/heads/{pattern}" for pattern in self.patterns)
        return not self.patterns or any(fnmatchcase(name, pattern) for pattern in full)


EVERYTHING = RefPolicy()


async def check(policy: RefPolicy, remote: Remote, commit: str, name: str | None) -> None:
    """`name` is the allowed ref that led to the commit, None where the id was asked for.

    Raises RefNotAllowedError, and what asking the remote raises.
    """
    if policy.patterns and name is None:
        await _require_reachable(policy, remote, commit)
    if policy.signers:
        await _require_signature(policy.signers, remote, commit)


async def _require_reachable(policy: RefPolicy, remote: Remote, commit: str) -> None:
    vouching = {name: tip for name, tip in (await remote.list_refs()).items() if policy.allows(name)}
    if commit in vouching.values():
        return
    if remote.repository.shallow:
        raise _refused(remote, "in a shallow clone only the newest commits of allowed refs can be told; name the ref")
    if len(vouching) > MOST_REFS:
        raise _refused(remote, f"more than {MOST_REFS} refs match REFRESHD_REFS; name the ref")
    if vouching:
        await remote.fetch_refs(vouching, _VOUCHING)
    # refs that an earlier update fetched are there too, and vouch for nothing any more
    found = await _plain(remote)("for-each-ref", f"--contains={commit}", "--format=%(refname)", _VOUCHING)
    if not {f"{_VOUCHING}{digest(name)}" for name in vouching} & set(found.text.split("\n")):
        raise _refused(remote, f"no allowed ref ({', '.join(policy.patterns)}) leads to this commit (REFRESHD_REFS)")


async def _require_signature(signers: Path, remote: Remote, commit: str) -> None:
    git = replace(_plain(remote), config={**_PROGRAMS, "gpg.ssh.allowedSignersFile": str(signers)})
    try:
        await git("verify-commit", commit)
    except CommandFailedError as error:
        reason = f"it is not signed by a key of {signers} (REFRESHD_ALLOWED_SIGNERS)"
        raise _refused(remote, reason, error.detail) from error


def _plain(remote: Remote) -> Git:
    git = remote.repository.git
    return replace(git, env={**git.env, **_AS_IT_IS})


def _refused(remote: Remote, reason: str, detail: str = "") -> RefNotAllowedError:
    return RefNotAllowedError(ref=remote.asked, reason=reason, detail=detail)

"""The way back, on disk before the first mutation: a shell program that needs git and nothing of the checkout.

It may be run again after it was killed: each step ends in the same state from wherever it starts. It restores files,
HEAD with its branch, and the index; dependencies follow from the restored files. What it needs is read before anything
is touched, and the room that it needs is kept free for it.
"""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

from daemon import gitdir
from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError
from daemon.files import disk_full_named, sync_folder, write_atomically
from daemon.full_disk import disk_full_blamed
from daemon.git import ENVIRONMENT, fixed_options
from daemon.gitdir import UNDER_WAY, GitDir
from daemon.log import get_logger
from daemon.process import Command, run
from daemon.snapshots import Snapshot, Snapshots
from daemon.snapshots.submodules import Submodule

PROGRAM = "undo.sh"
SAVED_INDEX = "index"
INSTALLED = "installed.json"
APPLIED = "applied"
UPDATE = "update"
RESERVE = "reserve"
HIDDEN = "hidden"

_KINDS = {"MERGE_HEAD": "a merge", "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert"}

ROOM = 1024 * 1024  # bytes, beside those of the index
DAMAGED = 3  # the program's exit code

log = get_logger()

_SCRIPT = Template("""\
#!/bin/sh
# Puts the checkout back to what it was before update $update_id. It may be run again at any time.
set -eu
export $environment
cd $checkout

checkout_git() { command git $options "$$@"; }
snapshot_git() {
  GIT_DIR=$snapshots GIT_WORK_TREE=$checkout GIT_INDEX_FILE=$snapshot_index \\
    command git $options -c core.bare=false -c core.autocrlf=false "$$@"
}

# What is there now, so that what the update added is known and goes; by name only, for the disk may be full.
# By the rules of then: what was ignored when the snapshot was taken is not in it, and must stay.
look() {
  snapshot_git diff-files --name-only -z -- ':(glob)**/.gitignore' |
    snapshot_git checkout-index -f -u -z --stdin || true
  snapshot_git -c core.excludesFile=$exclude add --all --intent-to-add --ignore-errors || true
  # what the update brings all the same is found by its name
  [ ! -e $hidden ] ||
    snapshot_git update-index --add --remove --replace --info-only -z --stdin <$hidden || true
}

# HEAD and its branch, then the index, then the merge that was under way.
back() { # FOLDER GIT_DIR SAVED_INDEX BRANCH COMMIT
  [ -e "$$1/.git" ] || return 0
  cd "$$1"
  rm -f "$$2/index.lock" "$$2/HEAD.lock"
  if [ -n "$$4" ]; then
    checkout_git symbolic-ref HEAD "$$4"
  else
    checkout_git update-ref --no-deref HEAD "$$5"
  fi
  if [ -e "$$3" ]; then
    # with its time: git takes it for the time until which the index knew all changes
    cp -p "$$3" "$$2/index.undo"
    mv -f "$$2/index.undo" "$$2/index"
  else
    rm -f "$$2/index"
  fi
  for state in $under_way; do
    if [ -e "$$3.$$state" ]; then
      cp "$$3.$$state" "$$2/index.undo"
      mv -f "$$2/index.undo" "$$2/$$state"
    else
      rm -f "$$2/$$state"
    fi
  done
  cd $checkout
}

# A submodule that the update brought becomes a folder like any other, whose files go with the rest.
forget() { # FOLDER
  [ ! -f "$$1/.git" ] || rm -f "$$1/.git"
}

# A submodule that the update removed is checked out again; what is in its files follows.
bring() { # FOLDER ABOVE
  [ -e "$$1/.git" ] || checkout_git -C "$$2" submodule --quiet update --init --force --no-fetch -- "$$1" || true
}

# Nothing else writes here any more, so locks are left-overs of what was killed.
rm -f $reserve $snapshot_index.lock
# Every file that has to come back is read before any is touched.
# The index alone is set to it, where the times of files that did not change stay.
{ snapshot_git read-tree --reset $tree && snapshot_git diff-files --no-renames --numstat >/dev/null; } || {
  echo 'undo: the snapshot cannot be read, and nothing was touched' >&2
  exit $damaged
}

# Python takes byte code for current by size and whole second, which the new code may share with the old.
snapshot_git -c core.quotePath=false diff-files --name-only -- '*.py' | while IFS= read -r file; do
  name=$${file##*/}
  rm -f "$${file%"$$name"}__pycache__/$${name%.py}".*.pyc
done

# What is half put back is half-applied again: whoever finds it in that state must not start it.
rm -f $applied
rm -rf $git_dir/refreshd-incoming
$forget_submodules
look
snapshot_git read-tree -u --reset $tree
$back
$back_submodules
checkout_git update-index -q --refresh >/dev/null 2>&1 || true
sync
""")


class Undo:
    """Prepares, runs and drops the way back of one update at a time."""

    def __init__(self, *, folder: Path, repo: Path, snapshots: Snapshots, timeout: float) -> None:
        self._folder = folder
        self._repo = repo
        self._snapshots = snapshots
        self._timeout = timeout

    async def prepare(
        self,
        update_id: str,
        snapshot: Snapshot,
        *,
        installed: Mapping[str, str],
        submodules: Iterable[str] = (),
        coming: Iterable[bytes] = (),
    ) -> list[str]:
        """Durable when it returns.

        `installed`: the installers' fingerprints, by name; `submodules`: the target's; `coming`: the names that the
        commit before does not have. Returns notes: what the update will end that only the way back would bring back.
        Raises CheckoutError, NoSpaceError.
        """
        here = await self._snapshots.submodules()
        paths = {submodule.path for submodule in here}
        new = [path for path in submodules if os.fsencode(path) not in paths]
        hidden = await self._snapshots.hidden(frozenset(coming).difference(map(os.fsencode, new)))
        saved = {INSTALLED: json.dumps(dict(installed)).encode(), UPDATE: update_id.encode()}
        if hidden:
            saved[HIDDEN] = b"".join(name + b"\0" for name in hidden)
        return await asyncio.to_thread(self._prepare, update_id, snapshot, saved, here, new)

    async def run(self) -> None:
        """Once more where it hangs or something fails on its way, for it may be run again at any time.

        Raises CommandFailedError with exit code 3 and nothing touched for a snapshot that is damaged. Raises it,
        CommandTimeoutError, or NoSpaceError where somebody took the room that was kept, with the checkout in no known
        state.
        """
        with disk_full_blamed(self._repo):
            try:
                await self._run()
            except (CommandFailedError, CommandTimeoutError) as error:
                if isinstance(error, CommandFailedError) and error.exit_code == DAMAGED:
                    raise
                log.warning("undo fails, trying once more", error=str(error), detail=error.detail)
                await self._run()

    async def _run(self) -> None:
        command = ("sh", self._folder / PROGRAM)
        await run(Command(argv=command, cwd=self._folder, timeout=self._timeout, shown="undo"))

    async def mark_applied(self) -> None:
        """From now on the new code is complete: the guard lets it try to start."""
        await asyncio.to_thread(write_atomically, self._folder / APPLIED, b"")

    async def pending(self) -> bool:
        """Whether there is a way back that was not dropped."""
        return await asyncio.to_thread((self._folder / PROGRAM).exists)

    async def belongs_to(self) -> str | None:
        """The id of the update whose way back was not dropped."""
        if not await self.pending():
            return None
        return (await asyncio.to_thread(gitdir.read, self._folder / UPDATE) or b"").decode(errors="replace") or None

    async def drop(self, update_id: str) -> None:
        """That of another update stays: it did not work, and may still be needed."""
        await asyncio.to_thread(self._drop_that_of, update_id)

    def _drop_that_of(self, update_id: str) -> None:
        if gitdir.read(self._folder / UPDATE) in {None, update_id.encode()}:
            self._drop()

    def _drop(self) -> None:
        """The program first: while it is there, all that it needs is there too."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self._folder / PROGRAM).unlink()
            sync_folder(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def installed(self) -> dict[str, str]:
        """The fingerprints that were given to `prepare`; empty when they cannot be read."""
        try:
            content = await asyncio.to_thread((self._folder / INSTALLED).read_bytes)
            return {str(name): str(fingerprint) for name, fingerprint in json.loads(content).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _prepare(
        self,
        update_id: str,
        snapshot: Snapshot,
        saved: Mapping[str, bytes],
        here: Sequence[Submodule],
        new: Sequence[str],
    ) -> list[str]:
        found = _found(self._repo)
        self._drop()
        with disk_full_named(self._folder):
            self._folder.mkdir(parents=True, mode=0o700)
        back = self._save(self._repo, found, SAVED_INDEX)
        back_submodules = [
            line
            for number, inner in enumerate(here, 1)
            for line in (
                _line("bring", inner.folder, inner.above),
                self._save(inner.folder, _found(inner.folder), f"{SAVED_INDEX}.{number}"),
            )
        ]
        if here:
            back_submodules.append(f"snapshot_git read-tree -u --reset {snapshot.tree}")
        forget = [_line("forget", self._repo / path) for path in new]
        script = _SCRIPT.substitute(
            self._names(found),
            options=shlex.join(fixed_options(self._repo, *(inner.folder for inner in here))),
            update_id=update_id,
            tree=snapshot.tree,
            damaged=DAMAGED,
            under_way=" ".join(UNDER_WAY),
            back=back,
            back_submodules="\n".join(back_submodules),
            forget_submodules="\n".join(forget),
        )
        for name, content in saved.items():
            write_atomically(self._folder / name, content)
        self._reserve_room()
        # last: a program that is there is complete
        write_atomically(self._folder / PROGRAM, script.encode("utf-8", "surrogateescape"), mode=0o700)
        sync_folder(self._folder.parent)
        return [
            f"the update ends {what} of {content[:12].decode('ascii', 'replace')}; its files are in the snapshot"
            for name, content in found.under_way().items()
            if (what := _KINDS.get(name))
        ]

    def _reserve_room(self) -> None:
        """For the index of the snapshots, which is written twice. Raises NoSpaceError."""
        index = self._snapshots.index
        room = ROOM + 2 * index.stat().st_size if index.exists() else ROOM
        with disk_full_named(self._folder), (self._folder / RESERVE).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)

    def _save(self, checkout: Path, found: GitDir, name: str) -> str:
        """Copies the index of a repository and what is under way; the program's line that brings them and HEAD back.

        A branch itself is never moved by us: HEAD is detached from it.
        """
        if (index := gitdir.read(found.index)) is not None:
            write_atomically(self._folder / name, index)
            changed = found.index.stat().st_mtime_ns
            os.utime(self._folder / name, ns=(changed, changed))
        for state, content in found.under_way().items():
            write_atomically(self._folder / f"{name}.{state}", content)
        commit = (found.head() or b"").decode("ascii", "replace").strip()
        return _line("back", checkout, found.folder, self._folder / name, found.branch() or "", commit)

    def _names(self, found: GitDir) -> dict[str, str]:
        paths = {
            "checkout": self._repo,
            "git_dir": found.folder,
            "applied": self._folder / APPLIED,
            "reserve": self._folder / RESERVE,
            "hidden": self._folder / HIDDEN,
            "snapshots": self._snapshots.folder,
            "snapshot_index": self._snapshots.index,
            "exclude": found.exclude,
        }
        return {name: shlex.quote(str(path)) for name, path in paths.items()} | {
            "environment": " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items()),
        }


def _found(checkout: Path) -> GitDir:
    """Raises CheckoutError."""
    found = gitdir.find(checkout)
    if found is None:
        raise CheckoutError(path=str(checkout), reason="it is not a git repository")
    return found


def _line(*words: str | Path) -> str:
    return shlex.join(map(str, words))

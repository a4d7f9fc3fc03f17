"""Reading the `.gitmodules` of a commit. Whoever wrote the commit wrote it: nothing in it is taken on trust."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from daemon.git import Git
from daemon.sources.git.tree import LIST, has_gitmodules
from daemon.sources.git.urls import refuse_unsafe, resolved


@dataclass(frozen=True, kw_only=True)
class Submodule:
    """One at one commit; `url` is absolute and has been judged, `path` is relative to the superproject's folder."""

    name: str
    path: str
    commit: str
    url: str
    shallow: bool = False


class UnusableSubmoduleError(Exception):
    """Says which and why; the caller knows whose commit it is."""


async def read_submodules(
    git: Git, commit: str, *, base: str, local_allowed: bool, listed: bytes | None = None
) -> tuple[Submodule, ...]:
    """Those that git would check out; `base` is what relative URLs are relative to, `listed` all files of the commit.

    Raises UnusableSubmoduleError, and CommandFailedError for a `.gitmodules` that git cannot read.
    """
    if listed is None:
        listed = (await git("ls-tree", "-z", commit, ".gitmodules")).stdout and (await git(*LIST, commit)).stdout
    if not has_gitmodules(listed):
        return ()
    sections = parse(os.fsdecode((await git("config", "--blob", f"{commit}:.gitmodules", "-z", "--list")).stdout))
    pointers = _pointers(os.fsdecode(listed))
    _refuse_nested_names(sections)
    return tuple(
        _judged(name, options, pointers[path], base=base, local_allowed=local_allowed)
        for name, options in sections.items()
        if (path := options.get("path", "")) in pointers and options.get("update") != "none"
    )


def parse(listed: str) -> dict[str, dict[str, str]]:
    """The sections `[submodule "…"]` by name, from `git config -z --list`; of a repeated option the last value."""
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in filter(None, listed.split("\0")):
        key, _, value = entry.partition("\n")
        kind, _, rest = key.partition(".")
        name, dot, option = rest.rpartition(".")
        if kind == "submodule" and dot:
            sections[name][option] = value
    return dict(sections)


def _pointers(listed: str) -> dict[str, str]:
    records = (record.partition("\t") for record in listed.split("\0") if record.startswith("160000 "))
    return {path: meta.split()[2] for meta, _, path in records}


def _judged(name: str, options: Mapping[str, str], commit: str, *, base: str, local_allowed: bool) -> Submodule:
    try:
        _refuse_unsafe_name(name)
        if options.get("update", "").startswith("!"):
            raise ValueError("it asks for a program to be run")  # noqa: TRY301 - all reasons become one error
        url = resolved(base, options.get("url", ""))
        refuse_unsafe(url, local_allowed=local_allowed)
    except ValueError as error:
        raise UnusableSubmoduleError(f"the submodule {name[:100]!r} cannot be used: {error}") from None
    return Submodule(
        name=name, path=options["path"], commit=commit, url=url, shallow=options.get("shallow", "").lower() == "true"
    )


def _refuse_unsafe_name(name: str) -> None:
    """The name becomes a folder in the repository."""
    parts = name.replace("\\", "/").split("/")
    if not name.isprintable() or any(part in {"", ".", ".."} for part in parts) or name.startswith("-"):
        raise ValueError("its name leads out of the folder that is meant for it")


def _refuse_nested_names(names: Iterable[str]) -> None:
    """The repository of a submodule `a/b` would lie in the midst of that of `a`."""
    known = set(names)
    for name in known:
        if any(str(parent) in known for parent in PurePosixPath(name).parents):
            raise UnusableSubmoduleError(f"the submodule {name[:100]!r} cannot be used: its name is inside another's")

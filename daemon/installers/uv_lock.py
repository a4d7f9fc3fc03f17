"""Does uv.lock know what pyproject.toml asks for? Answered by name, without uv and without an index.

`uv lock --check` would compare versions too, but its answer depends on the index that the machine is set up for.
"""

import re
from collections.abc import Iterable
from typing import Any

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def unlocked(pyproject: bytes, lock: bytes) -> tuple[str, ...]:
    """The dependencies of the project that its entry in the lockfile does not have. Unreadable files: none."""
    import tomllib  # noqa: PLC0415 - memory that most machines need not spend

    try:
        project = tomllib.loads(pyproject.decode())["project"]
        entries = tomllib.loads(lock.decode())["package"]
        entry = next(e for e in entries if _normal(e["name"]) == _normal(project["name"]))
        wanted = dict.fromkeys(map(_normal, project.get("dependencies", [])))
        known = set(_known(entry))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return ()  # uv will say what is wrong with them
    return tuple(name for name in wanted if name not in known)


def _known(entry: dict[str, Any]) -> Iterable[str]:
    """Both lists: one leaves out what this lockfile's markers exclude, the other what `sources` replace."""
    for listed in (entry.get("dependencies", []), entry.get("metadata", {}).get("requires-dist", [])):
        yield from (_normal(dependency["name"]) for dependency in listed)


def _normal(requirement: str) -> str:
    """The name in a requirement, spelled as package indexes spell it."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else requirement

"""Which files of a snapshot somebody means who names paths. Names are literal, never patterns."""

from collections.abc import Iterable, Sequence

from daemon.errors import BadRequestError, NotFoundError
from daemon.git import printable

MOST_PATHS = 1000


def selected(names: Iterable[bytes], paths: Sequence[str]) -> list[bytes]:
    r"""The names that are one of the paths or below one.

    A name that is not UTF-8 goes by its printable form, with `\x..` for each byte that is none, as it is shown.
    Raises BadRequestError for what is no path inside of a checkout, NotFoundError for a path that is not there.
    """
    for path in paths:
        _refuse_outside(path)
    known = list(names)
    return list(dict.fromkeys(name for path in paths for name in _meant(known, path)))


def _meant(names: Sequence[bytes], path: str) -> list[bytes]:
    literal = path.encode("utf-8", "surrogateescape").rstrip(b"/")
    if found := [name for name in names if name == literal or name.startswith(literal + b"/")]:
        return found
    shown = path.rstrip("/")
    if found := [name for name in names if _is_or_is_below(printable(name), shown)]:
        return found
    raise NotFoundError(what=f"{path!r} in the snapshot")


def _is_or_is_below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/")


def _refuse_outside(path: str) -> None:
    parts = path.rstrip("/").split("/")
    if not path or path.startswith("/") or "\0" in path:
        raise BadRequestError(reason=f"{path[:200]!r} is not a path inside the checkout")
    if {"", ".", ".."} & set(parts):
        raise BadRequestError(reason=f"{path[:200]!r} is not a plain path: leave out empty parts, . and ..")
    if any(part.lower() == ".git" for part in parts):
        raise BadRequestError(reason=f"{path[:200]!r} is inside .git, which snapshots do not hold")

"""Sets of paths as git prints them: sorted, with a NUL after each.

A list of files is mostly the one of the last time but for a few, and then it is enough to compare bytes. Of 100,000
paths that takes a twentieth of the time of sets, and a tenth of their memory.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

_FEW = 500  # paths; sets are quicker then
_STEP = 1 << 12  # bytes


@dataclass(frozen=True)
class Names:
    """`joined` is as git prints it."""

    joined: bytes = b""

    @classmethod
    def of(cls, paths: Iterable[bytes]) -> "Names":
        return paths if isinstance(paths, cls) else _joined(sorted(frozenset(paths)))

    @cached_property
    def paths(self) -> frozenset[bytes]:
        return frozenset(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._split())

    def __len__(self) -> int:
        return self.joined.count(b"\0")

    def __contains__(self, path: bytes) -> bool:
        return b"\0" not in path and b"\0" + path + b"\0" in b"\0" + self.joined

    def __sub__(self, others: "Names") -> frozenset[bytes]:
        if self == others or not self:
            return frozenset()
        few = _few_missing(self.joined, others.joined)
        return self.paths - others.paths if few is None else few

    def plus(self, more: Collection[bytes]) -> "Names":
        """Both; `more` are not among these."""
        return _joined(sorted([*self, *more])) if more else self

    def minus(self, gone: Collection[bytes]) -> "Names":
        return _joined(path for path in self if path not in gone) if gone else self

    def marked(self, mark: bytes) -> "Names":
        """With it before each of them."""
        return Names(mark + self.joined[:-1].replace(b"\0", b"\0" + mark) + b"\0") if self.joined else self

    def _split(self) -> list[bytes]:
        return self.joined.split(b"\0")[:-1]


def _joined(paths: Iterable[bytes]) -> Names:
    return Names(b"".join(path + b"\0" for path in paths))


def _few_missing(ours: bytes, theirs: bytes) -> frozenset[bytes] | None:
    """What theirs lacks. None where the two differ in more than a few paths."""
    missing: list[bytes] = []
    at, there = 0, 0
    for _ in range(_FEW):
        # to the first record that is not the same
        agreed = ours.rfind(b"\0", at, at + _agreeing(ours, at, theirs, there)) + 1
        at, there = max(agreed, at), there + max(agreed - at, 0)
        if at == len(ours):
            return frozenset(missing)
        end, end_there = ours.index(b"\0", at) + 1, theirs.find(b"\0", there) + 1
        if end_there and theirs[there:end_there] < ours[at:end]:
            there = end_there
        else:
            missing.append(ours[at : end - 1])
            at = end
    return None


def _agreeing(ours: bytes, at: int, theirs: bytes, there: int) -> int:
    """Bytes that are the same from there on, found in steps that double and then halve."""
    longest = min(len(ours) - at, len(theirs) - there)
    length, step, grows = 0, _STEP, True
    while step:
        further = length + step
        if further <= longest and ours[at + length : at + further] == theirs[there + length : there + further]:
            length = further
        else:
            grows = False
        step = step * 2 if grows else step // 2
    return length


NONE = Names()

"""Sets of paths as git prints them: sorted, with a NUL after each.

A list of files is mostly the one of the last time, and then it is enough to compare bytes. Of 100,000 paths that takes
a hundredth of the time of a set, and a tenth of its memory.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property


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
        return frozenset() if self == others else self.paths - others.paths

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


NONE = Names()

"""What may be asked for. Pure rules, no git: a ref that passes is safe to hand to git and to print."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from daemon.errors import InvalidRefError

MAX_LENGTH = 255

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_OVERLONG_HEX = re.compile(r"[0-9a-fA-F]{41,}")
# git check-ref-format, rules 4, 5, 9 and 10: control characters, space ~ ^ : ? * [ \ and DEL
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")
_RULES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda text: not text, "it is empty"),
    (lambda text: bool(_SURROGATE.search(text)), "it is not valid Unicode"),
    (lambda text: len(text.encode()) > MAX_LENGTH, f"it is longer than {MAX_LENGTH} bytes"),
    (lambda text: text.startswith("-"), "it begins with a dash"),
    (lambda text: bool(_FORBIDDEN.search(text)), "it holds a character that no ref may hold"),
    (lambda text: ".." in text or "@{" in text or text == "@", "it holds a revision expression"),
    (lambda text: "" in text.split("/") or text.endswith("."), "a part of it is empty or it ends with a dot"),
    (
        lambda text: any(part.startswith(".") or part.endswith(".lock") for part in text.split("/")),
        "a part of it begins with a dot or ends with .lock",
    ),
)


class RefKind(Enum):
    COMMIT = "commit"  # a full id: 40 hexadecimal digits, 64 in a SHA-256 repository
    FULL = "full"  # refs/…
    NAME = "name"  # a branch, else a tag
    BRANCH = "branch"  # a branch and nothing else


@dataclass(frozen=True)
class Ref:
    kind: RefKind
    name: str

    @property
    def requested(self) -> str:
        """What records keep: it parses to the same again."""
        return f"refs/heads/{self.name}" if self.kind is RefKind.BRANCH else self.name

    def candidates(self) -> tuple[str, ...]:
        """The full names to look for at the remote, best first; empty for a commit id."""
        match self.kind:
            case RefKind.COMMIT:
                return ()
            case RefKind.FULL:
                return (self.name,)
            case RefKind.BRANCH:
                return (f"refs/heads/{self.name}",)
            case RefKind.NAME:
                return (f"refs/heads/{self.name}", f"refs/tags/{self.name}")


def parse_ref(text: str) -> Ref:
    """Raises InvalidRefError for everything that git could misread, and for what git would refuse later."""
    _refuse_malformed(text)
    lowered = text.lower()
    if _COMMIT.fullmatch(lowered):
        return Ref(RefKind.COMMIT, lowered)
    if _OVERLONG_HEX.fullmatch(text):
        raise InvalidRefError(ref=text[:MAX_LENGTH], reason=f"a commit id has 40 digits and this has {len(text)}")
    return Ref(RefKind.FULL if text.startswith("refs/") else RefKind.NAME, text)


def parse_branch(text: str) -> Ref:
    """Raises InvalidRefError as `parse_ref` does."""
    _refuse_malformed(text)
    return Ref(RefKind.FULL if text.startswith("refs/heads/") else RefKind.BRANCH, text)


def parse_commit(text: str) -> Ref:
    """Raises InvalidRefError for anything but a full id."""
    if not _COMMIT.fullmatch(text.lower()):
        raise InvalidRefError(ref=text[:MAX_LENGTH], reason="a commit is named by all of its 40 hexadecimal digits")
    return Ref(RefKind.COMMIT, text.lower())


def _refuse_malformed(text: str) -> None:
    """The rules of `git check-ref-format`, and ours: no leading dash, a bound on the length."""
    for broken, reason in _RULES:
        if broken(text):
            raise InvalidRefError(ref=text[:MAX_LENGTH], reason=reason)

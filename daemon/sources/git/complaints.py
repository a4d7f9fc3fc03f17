"""What git means by what it writes to standard error: the kind of fault, and a short reason for people.

Every child of ours runs with LC_ALL=C.UTF-8, so the sentences are git's own, untranslated.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    NO_SUCH_REF = "no such ref"
    DISK_FULL = "disk full"
    CHECKOUT = "checkout"  # the local repository
    REMOTE = "remote"  # the way to the remote, or the remote itself


@dataclass(frozen=True)
class Complaint:
    fault: Fault
    reason: str


_AUTHENTICATION = "authentication failed: check the token"
_NOT_FOUND = "not found (404): check the address, and that the token may read it"
_NO_CONNECTION = "could not connect"

# the first match wins: causes stand before their consequences
_MEANINGS: tuple[tuple[str, Fault, str], ...] = (
    (r"No space left on device|Disk quota exceeded|Out of diskspace", Fault.DISK_FULL, "the disk is full"),
    (r"couldn't find remote ref|not our ref", Fault.NO_SUCH_REF, "no such ref"),
    (
        r"Server does not allow request for unadvertised object",
        Fault.REMOTE,
        "the server does not hand out commits by their id; give a branch or a tag",
    ),
    (
        r"cannot (?:run|exec).*askpass.*Permission denied",
        Fault.CHECKOUT,
        "programs may not run in the run directory (noexec), so git cannot be given the token",
    ),
    (r"Authentication failed for|could not read (?:Username|Password)", Fault.REMOTE, _AUTHENTICATION),
    (r"Permission denied \(|Host key verification failed", Fault.REMOTE, "authentication failed: check the SSH keys"),
    (r"requested URL returned error: 401", Fault.REMOTE, _AUTHENTICATION),
    (r"requested URL returned error: 403", Fault.REMOTE, "access denied (403): check what the token may do"),
    (r"requested URL returned error: 404", Fault.REMOTE, _NOT_FOUND),
    (r"repository '.*' not found|ERROR: Repository not found", Fault.REMOTE, _NOT_FOUND),
    (r"does not appear to be a git repository", Fault.REMOTE, "there is no git repository at this address"),
    (r"requested URL returned error: 429", Fault.REMOTE, "too many requests (429): try again later"),
    (r"requested URL returned error: (?P<status>\d{3})", Fault.REMOTE, "the server answered {status}"),
    (r"Could not resolve host", Fault.REMOTE, _NO_CONNECTION + ": its name cannot be resolved"),
    (r"Operation too slow|timed? ?out", Fault.REMOTE, "timed out"),
    (
        r"Failed to connect|Couldn't connect|Connection refused|Network is unreachable|No route to host",
        Fault.REMOTE,
        _NO_CONNECTION,
    ),
    (r"SSL certificate|certificate verif", Fault.REMOTE, "its TLS certificate is not trusted"),
    (
        r"transport '(?P<name>[\w+-]+)' not allowed",
        Fault.REMOTE,
        "git does not allow the transport {name}",
    ),
    (
        r"insufficient permission|Permission denied|Read-only file system",
        Fault.CHECKOUT,
        "its repository cannot be written",
    ),
    (r"^error: (?P<what>object file .* is empty)", Fault.CHECKOUT, "its repository is damaged: {what}"),
    (r"^(?:fatal|error): (?P<what>(?:loose|packed) object .*corrupt.*|bad object .*)", Fault.CHECKOUT, "{what}"),
    (r"^(?:fatal|error): (?P<what>bad config .*|index file .*|not a git repository.*)", Fault.CHECKOUT, "{what}"),
    (
        r"early EOF|hung up|transfer closed|unexpected disconnect|RPC failed|Empty reply|reset by peer",
        Fault.REMOTE,
        "the connection broke",
    ),
    (r"not valid: is this a git repository", Fault.REMOTE, "there is no git repository at this address"),
)
_PATTERNS = tuple((re.compile(pattern, re.MULTILINE), fault, reason) for pattern, fault, reason in _MEANINGS)
_OWN_WORDS = re.compile(r"^(?:fatal|error): (.+)$", re.MULTILINE)


def understand(output: str) -> Complaint:
    """Lines that the remote made git print (`remote: …`) prove nothing and are not looked at."""
    lines = [line for line in output.splitlines() if not line.startswith("remote: ")]
    said = "\n".join(lines)
    for pattern, fault, reason in _PATTERNS:
        if found := pattern.search(said):
            return Complaint(fault, reason.format(**found.groupdict()))
    if own := _OWN_WORDS.search(said):
        return Complaint(Fault.REMOTE, own[1])
    return Complaint(Fault.REMOTE, lines[-1] if lines else "git failed without a word")

"""What git means. The sentences are those that git 2.39 to 2.47 and curl print; servers' own words prove nothing."""

import pytest

from daemon.sources.git.complaints import Fault, understand

ACCESS = "fatal: unable to access 'https://h/r/': "


@pytest.mark.parametrize(
    ("said", "fault", "reason"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", Fault.NO_SUCH_REF, "no such ref"),
        ("fatal: remote error: upload-pack: not our ref 1234", Fault.NO_SUCH_REF, "no such ref"),
        ("fatal: Authentication failed for 'https://h/r/'", Fault.REMOTE, "authentication failed: check the token"),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            Fault.REMOTE,
            "authentication failed: check the token",
        ),
        (f"{ACCESS}The requested URL returned error: 503", Fault.REMOTE, "the server answered 503"),
        (f"{ACCESS}The requested URL returned error: 429", Fault.REMOTE, "too many requests (429): try again later"),
        ("fatal: repository 'https://h/r/' not found", Fault.REMOTE, "not found (404)"),
        (
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            Fault.REMOTE,
            "not found (404)",
        ),
        (f"{ACCESS}Could not resolve host: h", Fault.REMOTE, "could not connect: its name cannot be resolved"),
        (
            "ssh: Could not resolve hostname h: Name or service not known",
            Fault.REMOTE,
            "could not connect: its name cannot be resolved",
        ),
        (
            f"{ACCESS}Failed to connect to h port 443 after 2 ms: Couldn't connect to server",
            Fault.REMOTE,
            "could not connect",
        ),
        (f"{ACCESS}Failed to connect to h port 443: Connection timed out", Fault.REMOTE, "timed out"),
        (f"{ACCESS}Operation too slow. Less than 1000 bytes/sec", Fault.REMOTE, "timed out"),
        (
            f"{ACCESS}SSL certificate problem: self-signed certificate",
            Fault.REMOTE,
            "its TLS certificate is not trusted",
        ),
        (f"{ACCESS}server certificate verification failed. CAfile: none", Fault.REMOTE, "its TLS certificate"),
        ("git@h: Permission denied (publickey).", Fault.REMOTE, "authentication failed: check the SSH keys"),
        ("Host key verification failed.", Fault.REMOTE, "authentication failed: check the SSH keys"),
        ("fetch-pack: unexpected disconnect while reading sideband packet", Fault.REMOTE, "the connection broke"),
        (
            "error: Server does not allow request for unadvertised object 1234",
            Fault.REMOTE,
            "the server does not hand out commits by their id",
        ),
        ("fatal: write error: No space left on device", Fault.DISK_FULL, "the disk is full"),
        (
            "error: file write error: Disk quota exceeded\nfatal: the remote end hung up",
            Fault.DISK_FULL,
            "the disk is full",
        ),
        (
            "fatal: not a git repository (or any of the parent directories): .git",
            Fault.CHECKOUT,
            "not a git repository",
        ),
        ("fatal: loose object 1234 (stored in .git/objects/12/34) is corrupt", Fault.CHECKOUT, "loose object 1234"),
        (
            "error: insufficient permission for adding an object to repository database .git/objects",
            Fault.CHECKOUT,
            "its repository cannot be written",
        ),
        ("fatal: something new", Fault.REMOTE, "something new"),
        ("just words\nand more", Fault.REMOTE, "and more"),
        ("", Fault.REMOTE, "git failed without a word"),
    ],
)
def test_each_complaint_has_a_kind_and_a_reason(said: str, fault: Fault, reason: str) -> None:
    understood = understand(said)
    assert understood.fault is fault
    assert understood.reason.startswith(reason)


def test_what_the_remote_says_is_not_taken_for_gits_own_words() -> None:
    said = "remote: fatal: No space left on device\nremote: couldn't find remote ref x\nfatal: repository 'u' not found"
    assert understand(said).reason.startswith("not found (404)")

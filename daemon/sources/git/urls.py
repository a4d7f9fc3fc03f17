"""Addresses of repositories: what may be shown of them, whose host they name, and how relative ones are resolved."""

import re

from daemon.redaction import redacted

_HTTP = re.compile(r"(?P<scheme>https?)://(?:[^/@]*@)?(?P<host>[^/@?#]+)(?=[/?#]|$)", re.IGNORECASE)
_HTTP_USERINFO = re.compile(r"(?i:https?)://[^/]*@")
_HELPER = re.compile(r"[A-Za-z0-9_+.-]+::")  # `ext::sh -c …`: git runs a program for it
_SCHEME = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/@]*@)?(?P<host>[^/]*)")
_SCP = re.compile(r"(?:[^/:@]+@)?(?P<host>[^/:]+):(?!//)")
_NETWORK = frozenset({"https", "http", "ssh", "git"})


def shown(url: str) -> str:
    return redacted(url)


def authority(url: str) -> str | None:
    """`scheme://host[:port]` exactly as git will name it in its question; None for what is not http or is ambiguous."""
    found = _HTTP.match(url)
    return f"{found['scheme']}://{found['host']}" if found else None


def has_userinfo(url: str) -> bool:
    return bool(_HTTP_USERINFO.match(url))


def is_local(url: str) -> bool:
    """A path, or a file URL: something on this machine."""
    scheme = _SCHEME.match(url)
    return scheme["name"].lower() == "file" if scheme else not _SCP.match(url)


def resolved(base: str, url: str) -> str:
    """A URL that begins with ./ or ../ is relative to `base`, the superproject's. Raises ValueError.

    Git's own rule: a leading ../ takes a part off the end of `base`, at the last slash, else at the last colon.
    """
    if not url.startswith(("./", "../")):
        return url
    base, separator = base.removesuffix("/"), "/"
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            cut = max(base.rfind("/"), base.rfind(":") if "/" not in base else -1)
            if cut < 0:
                raise ValueError("its URL leads out of the superproject's")
            base, separator, url = base[:cut], base[cut], url[3:]
        else:
            url = url[2:]
    return f"{base}{separator}{url}".removesuffix("/")


def refuse_unsafe(url: str, *, local_allowed: bool) -> None:
    """Raises ValueError for a URL, brought by a commit, that could run a program or read this machine's files."""
    if not url or not url.isprintable() or "%0a" in url.lower() or "%0d" in url.lower():
        raise ValueError("its URL is empty or holds a control character")
    if url.startswith("-") or _HELPER.match(url):
        raise ValueError("its URL is not one of a repository")
    found = _SCHEME.match(url)
    if found and found["name"].lower() not in _NETWORK | {"file"}:
        raise ValueError(f"git does not allow the transport {found['name']}")
    named = found or _SCP.match(url)
    if named and named["host"].startswith("-"):
        raise ValueError("its URL is not one of a repository")
    if is_local(url) and not local_allowed:
        raise ValueError("its URL is a local path, and the superproject's is not")

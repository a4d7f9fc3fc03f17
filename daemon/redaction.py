"""What may be shown: no credentials, neither those that a child was given nor those that somebody put into a URL."""

import re
from collections.abc import Iterable

MASK = "***"

# up to the last @ before the path: a password may hold an unescaped one
_USERINFO = re.compile(r"(?<=://)[^/\s]*@")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USERINFO.sub("", text)

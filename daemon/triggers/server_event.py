"""One server-sent event, as a value."""

from typing import NamedTuple

RETRY = 300  # milliseconds after which a reader comes back; a restart takes about as long


class ServerEvent(NamedTuple):
    """Without a name it is a `message`; `retry` is in milliseconds."""

    data: str
    name: str | None = None
    id: str | None = None
    retry: int | None = None

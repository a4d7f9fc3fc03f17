"""The listening sockets: kept outside of the process where there is a holder, so that a restart refuses nobody."""

from collections.abc import Mapping

from daemon.server.listening.holder import Holder, handed_on
from daemon.server.listening.listeners import Listeners
from daemon.settings import Settings

__all__ = ["Listeners", "listeners"]


def listeners(settings: Settings, environ: Mapping[str, str]) -> Listeners:
    return Listeners(
        unix=settings.socket_path,
        tcp=settings.listen,
        holder=Holder(settings.holder) if settings.holder else None,
        handed_on=handed_on(environ),
    )

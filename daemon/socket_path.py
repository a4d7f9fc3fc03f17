"""Where the Unix socket is, for those who only want to connect to it. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

DEFAULT_SOCKET = Path("/run/refreshd/refreshd.sock")
GREETING = b"refreshd\n"  # of `dial-stdio`: the connection stands, and what follows is the daemon's


def socket_path(environ: Mapping[str, str]) -> Path:
    """As the daemon's own settings have it."""
    if named := environ.get("REFRESHD_SOCKET"):
        return Path(named)
    folder = environ.get("REFRESHD_RUN_DIR")
    return Path(folder) / DEFAULT_SOCKET.name if folder else DEFAULT_SOCKET

"""`dial-stdio`: the daemon's Unix socket on standard input and output, for whoever can run a program in the machine.

It runs once for each connection, so it imports next to nothing.
"""

import os
import socket
import sys
import threading
from argparse import Namespace

from daemon.cli.exit_codes import ExitCode
from daemon.socket_path import GREETING, socket_path

_CHUNK = 65536


def run(arguments: Namespace) -> int:
    path = arguments.socket or socket_path(os.environ)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            sys.stderr.write(f"{path}: {error.strerror or error}\n")
            return ExitCode.UNREACHABLE
        _write(GREETING)
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        _receive(connection)
    return ExitCode.DONE


def _send(connection: socket.socket) -> None:
    try:
        while chunk := os.read(0, _CHUNK):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the daemon has gone; the other direction says so


def _receive(connection: socket.socket) -> None:
    try:
        while chunk := connection.recv(_CHUNK):
            _write(chunk)
    except ConnectionResetError:
        return


def _write(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]

"""Which user of this machine owns the other end of a connection. Only on Linux, from /proc.

Browsers send the cookies of a host to all of its ports, so another user of the machine could obtain ours by luring the
browser to a page on one of their ports. Requests that they then send are recognized by the owner of their socket.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
from collections.abc import Collection
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ROOT = 0  # has access anyway; relays of containers and virtual machines run as root

Address = tuple[str, int]


def owner(client: Address, server: Address) -> int | None:
    """The user id that owns the client socket of a connection between two IPv4 addresses of this machine.

    None if the socket is not listed, or is closed already.
    """
    wanted = {_written(client, mapped=mapped) + " " + _written(server, mapped=mapped) for mapped in (False, True)}
    for table in TABLES:
        text = table.read_text("ascii") if table.exists() else ""
        for pair in wanted:
            _, match, after = text.partition(f" {pair} ")
            if match:
                # A closed socket whose data is still in flight is listed as root's, without an inode.
                _state, _queues, _timer, _retries, user, _timeout, inode = after.split(maxsplit=7)[:7]
                return int(user) if inode != "0" else None
    return None


def _written(address: Address, *, mapped: bool) -> str:
    """An address as in the tables: hexadecimal words in native byte order, optionally mapped to IPv6."""
    (word,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{'0000000000000000FFFF0000' if mapped else ''}{word:08X}:{address[1]:04X}"


class Peers:
    """Recognizes connections of other users, if the system supports it.

    Args:
        listener: the listening socket; a test connection shows whether owners can be determined
        users: ids of further users whose connections are accepted, such as that of a proxy
    """

    def __init__(self, listener: socket.socket, users: Collection[int] = ()):
        self.server: Address = listener.getsockname()
        self.supported = False
        # In WSL, the browser runs on Windows, and its connections have no owner here.
        if hasattr(os, "getuid") and TABLES[0].exists() and "microsoft" not in platform.release().lower():
            self.allowed = {os.getuid(), ROOT, *users}
            with socket.create_connection(self.server) as probe:
                self.supported = owner(probe.getsockname(), self.server) == os.getuid()

    def is_stranger(self, client: Address | None) -> bool:
        """Whether a connection belongs to another user, or its owner is unknown because it was closed already.

        client: None if the connection was closed before its address was read
        """
        return self.supported and (client is None or owner(client, self.server) not in self.allowed)

"""Who, among the users of this machine, is at the other end of a connection. Linux says; other systems are not asked.

A browser sends the cookies of a host to all of its ports, so another user of the machine could get at ours by having a
page shown from a port of theirs. What they send themselves is then known by the user that their socket belongs to.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ROOT = 0  # may do anything anyhow; relays of containers and virtual machines run as it

Address = tuple[str, int]


def owner(client: Address, server: Address) -> int | None:
    """The user id behind a connection between two IPv4 addresses of this machine.

    None where the socket is not to be found, or belongs to nobody any more.
    """
    wanted = {_written(client, mapped=mapped) + " " + _written(server, mapped=mapped) for mapped in (False, True)}
    for table in TABLES:
        text = table.read_text("ascii") if table.exists() else ""
        for pair in wanted:
            _, found, after = text.partition(f" {pair} ")
            if found:
                # A socket that was closed with all it had sent still on its way is listed as root's, without an inode.
                _state, _queues, _timer, _retries, user, _timeout, inode = after.split(maxsplit=7)[:7]
                return int(user) if inode != "0" else None
    return None


def _written(address: Address, *, mapped: bool) -> str:
    """An address as the tables write it: words in this machine's order, in hexadecimal; mapped into IPv6 or not."""
    (word,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{'0000000000000000FFFF0000' if mapped else ''}{word:08X}:{address[1]:04X}"


class Peers:
    """Tells connections of this user from those of others, where the system lets it.

    Args:
        listener: the socket that connections come to; one is made to see whether it would be recognized
    """

    def __init__(self, listener: socket.socket):
        self.server: Address = listener.getsockname()
        self.known = False
        # On Windows' Linux, the browser is on the other system, and its connections belong to nobody here.
        if hasattr(os, "getuid") and TABLES[0].exists() and "microsoft" not in platform.release().lower():
            self.allowed = {os.getuid(), ROOT}
            with socket.create_connection(self.server) as probe:
                self.known = owner(probe.getsockname(), self.server) == os.getuid()

    def is_stranger(self, client: Address | None) -> bool:
        """Whether a connection is another user's, or nobody's: whoever asks and vanishes is not let in to act, either.

        client: None where the connection was gone before its address could be asked for.
        """
        return self.known and (client is None or owner(client, self.server) not in self.allowed)

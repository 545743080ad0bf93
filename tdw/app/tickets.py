"""Tokens and cookie: an address with a token works once, and is exchanged for the cookie.

Addresses remain in terminals and browser histories, so a used one is worthless and does not reveal the cookie. A new
address is printed in its place.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Callable

from tdw.app.proxy import NO_PROXY, Proxy

REMEMBERED = 256  # used tokens that are remembered, for a helpful error message


def address(port: int, token: str, root_path: str = "") -> str:
    """The address with a token."""
    return f"http://{host('127.0.0.1', port)}{root_path}/?token={token}"


def host(name: str, port: int) -> str:
    """Host and port as browsers write them: without port 80."""
    return name if port == 80 else f"{name}:{port}"


class Tickets:
    """The secrets of one server.

    Args:
        port: the port in the address
        announce: prints a line; may block as long as the terminal does
        proxy: how a proxy reaches the server
    """

    def __init__(self, port: int, announce: Callable[[str], None], proxy: Proxy = NO_PROXY):
        self.cookie = secrets.token_urlsafe(32)
        self._port = port
        self._token = secrets.token_urlsafe(32)
        self._used: deque[str] = deque(maxlen=REMEMBERED)
        self._announce = announce
        self._proxy = proxy

    @property
    def address(self) -> str:
        """The current address on this machine."""
        return address(self._port, self._token, self._proxy.root_path)

    def announce(self, introduction: str = "") -> None:
        """Print the current address and, on further lines, those through the proxy. Whether these are https, only the proxy
        knows.
        """
        root_path, end = self._proxy.root_path, f"/?token={self._token}"
        lines = [f"Through the proxy: https://{name}{root_path}{end} (or http://)" for name in self._proxy.hosts]
        if root_path and not lines:
            lines = [f"Through a proxy, its name stands in place of {host('127.0.0.1', self._port)}."]
        for line in (introduction + self.address, *lines):
            self._announce(line)

    @property
    def secrets(self) -> list[str]:
        """All secrets, which must not appear in logs."""
        return [self.cookie, self._token, *list(self._used)]

    def is_cookie(self, given: str) -> bool:
        """Whether this is the cookie's value."""
        return _same(given, self.cookie)

    def redeem(self, given: str) -> bool:
        """Whether this is the current token. If so, it is used up."""
        if not _same(given, self._token):
            return False
        self._used.append(self._token)
        self._token = secrets.token_urlsafe(32)
        return True

    def announce_next(self) -> None:
        """Print the address that takes the place of a used one."""
        self.announce("A browser was connected. To connect another one, open ")

    def was_used(self, given: str) -> bool:
        """Whether this token was used before."""
        return any(_same(given, one) for one in self._used)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())

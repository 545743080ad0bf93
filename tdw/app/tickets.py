"""What lets a browser in: an address that works once, and the cookie it is exchanged for.

The address stays behind in terminals, histories and scrollbacks, so it is worthless once it was used, and says nothing
about the cookie. A new one is announced in its place.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Callable

REMEMBERED = 256  # used tokens that are known as such, to tell whoever comes with one what to do


def address(port: int, token: str) -> str:
    """Where the browser is sent first."""
    return f"http://{host('127.0.0.1', port)}/?token={token}"


def host(name: str, port: int) -> str:
    """As browsers write it: http's own port is left out."""
    return name if port == 80 else f"{name}:{port}"


class Tickets:
    """The secrets of one server.

    Args:
        port: what the address names
        announce: tells the user of the next address, when one was used; may take as long as the terminal does
    """

    def __init__(self, port: int, announce: Callable[[str], None]):
        self.cookie = secrets.token_urlsafe(32)
        self._port = port
        self._token = secrets.token_urlsafe(32)
        self._used: deque[str] = deque(maxlen=REMEMBERED)
        self._announce = announce

    @property
    def address(self) -> str:
        """The address that works now."""
        return address(self._port, self._token)

    @property
    def secrets(self) -> list[str]:
        """All that must be in no log."""
        return [self.cookie, self._token, *list(self._used)]

    def is_cookie(self, given: str) -> bool:
        """Whether this is the cookie's value."""
        return _same(given, self.cookie)

    def redeem(self, given: str) -> bool:
        """Whether this is the token of the address that works now; it does so no more after this."""
        if not _same(given, self._token):
            return False
        self._used.append(self._token)
        self._token = secrets.token_urlsafe(32)
        return True

    def announce(self) -> None:
        """Tell the user of the address that works now."""
        self._announce(f"A browser was let in. Another one gets in once with {self.address}")

    def was_used(self, given: str) -> bool:
        """Whether this token let a browser in before."""
        return any(_same(given, one) for one in self._used)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())

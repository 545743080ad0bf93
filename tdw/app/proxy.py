"""What the server must know of a proxy in front of it: the path below which the page is, its host name, and its user.

Without a proxy, the page is at `/` of a loopback name. A proxy puts it below a path of its own, such as
`/user/NAME/proxy/7995/`, and either removes that path from the requests that it passes on or leaves it there; both are
understood. The page itself uses relative addresses only, so that it needs to know nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from tdw.errors import AppError

# A path as in an address bar (RFC 3986), without `;`, which would end the path of a cookie.
_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+)+", re.ASCII)
_LONGEST = 1000
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::(?P<port>[1-9]\d{{0,4}}))?", re.ASCII)


@dataclass(frozen=True)
class Proxy:
    """How a proxy reaches the server; without arguments, that there is none.

    root_path: the path below which the page is, as in the address bar, such as "/proxy/7995"; "" for none
    hosts: further values of Host that are accepted, in lower case, such as "hub.example.org:8443"
    users: ids of further users of this machine whose connections are accepted
    """

    root_path: str = ""
    hosts: tuple[str, ...] = ()
    users: frozenset[int] = frozenset()


NO_PROXY = Proxy()


def configured(
    root_path: str | None, hosts: Iterable[str], users: Iterable[str], reserved: Iterable[str] = ()
) -> Proxy:
    """A proxy as named on the command line. Raises AppError if something is not allowed.

    reserved: names with which the server's own routes begin
    """
    return Proxy(
        "" if root_path is None else _checked_path(root_path, frozenset(reserved)),
        tuple(dict.fromkeys(map(_checked_host, hosts))),
        frozenset(map(_user_id, users)),
    )


def _checked_path(given: str, reserved: frozenset[str]) -> str:
    path = given.removesuffix("/")  # as JupyterHub writes it
    if path == "" and given:
        return ""
    parts = unquote(path).split("/")[1:]
    if (
        _PATH.fullmatch(path) is None
        or len(path) > _LONGEST
        or not {".", ".."}.isdisjoint(parts)
        or len(parts) != path.count("/")  # an encoded slash
        or not unquote(path).isprintable()
        or not {"\\", "\ufffd"}.isdisjoint(unquote(path))  # U+FFFD stands for what is no UTF-8
    ):
        raise AppError(
            f"the root path cannot be {given!r}: give the path below which the proxy shows the page, as it is in the address "
            "bar, such as --root-path /user/NAME/proxy/7995; it begins with one slash, and has neither empty parts, . and .. "
            f"nor spaces, control characters, ? # ; \\ and encoded slashes (at most {_LONGEST} characters)"
        )
    if parts[0] in reserved:
        raise AppError(
            f"the root path cannot be {given!r}, because addresses of tdw itself begin with /{parts[0]}: have the proxy show the "
            "page below another path"
        )
    return path


def _checked_host(given: str) -> str:
    host = given.lower()
    found = _HOST.fullmatch(host)
    if found is None or len(found["name"]) > 253 or int(found["port"] or 0) > 65535:
        raise AppError(
            f"{given!r} cannot be trusted as a host: give NAME or NAME:PORT as in the address bar, such as "
            "--trust-host hub.example.org or --trust-host hub.example.org:8443, without https:// and path (other scripts as "
            "xn--…); for more names, repeat the option"
        )
    return host


def _user_id(given: str) -> int:
    try:
        import pwd
    except ImportError:  # Windows
        raise AppError("this system does not tell whose a connection is: omit --allow-user") from None
    try:
        return pwd.getpwnam(given).pw_uid
    except (KeyError, ValueError):
        raise AppError(
            f"no user of this machine is named {given!r}: give the name of the user as which the proxy runs, such as "
            "--allow-user www-data"
        ) from None

"""Who may talk to the server: a layer outside every route, ours and Gradio's alike.

Listening on loopback keeps other machines out, but neither a page in the same browser nor another user of the machine.
In order, each request must pass:

    user            whoever started the server, or root          else 403   (where the system says, see peers.py)
    Host            exactly 127.0.0.1:PORT or localhost:PORT     else 421   (a name rebound to us is not us)
    Origin          absent, or this very server                  else 403
    Sec-Fetch-Site  absent, same-origin or none                  else 403   (no page elsewhere reads or triggers)
    ?token=         the one announced at start                   -> cookie, and 303 to the address without it
    cookie          the same token                               else 401

The cookie is HttpOnly and SameSite=Strict, named after the port because cookies are shared between the ports of a host.
Nothing but HTTP is answered: a WebSocket's handshake is a request like any other, and no connection comes of it. Every
answer carries the headers of `policy.py`.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from tdw.app import policy
from tdw.app.peers import Peers
from tdw.app.policy import Message, Send

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def address(port: int, token: str) -> str:
    """Where the browser is sent first."""
    return f"http://{_host('127.0.0.1', port)}/?token={token}"


def _host(name: str, port: int) -> str:
    """As browsers write it: http's own port is left out."""
    return name if port == 80 else f"{name}:{port}"


class Refusal(NamedTuple):
    """Why a request is turned away."""

    status: int
    reason: str


class Guard:
    """An ASGI application that lets only the owner's browser through to `app`.

    Args:
        app: what is guarded
        port: the port the server listens on, part of the allowed hosts and of the cookie's name
        token: what the announced address carries
        peers: who may be at the other end
        welcomed: called when a browser has come in from another page, which is the one on disk
    """

    def __init__(
        self,
        app: App,
        *,
        port: int,
        token: str,
        peers: Peers,
        welcomed: Callable[[], None],
    ):
        self.app = app
        self.peers = peers
        self.token = token
        self.welcomed = welcomed
        self.cookie = f"tdw-{port}"
        self.hosts = frozenset({_host("127.0.0.1", port), _host("localhost", port)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on. What is no request of HTTP is not answered."""
        if scope["type"] == "http":
            await self._http(scope, receive, policy.with_headers(send))
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _token_in(scope)
        if given is not None and scope["method"] in {"GET", "HEAD"}:
            # The browser is sent here by a page on disk, which counts as another site; the token is what lets it in.
            refusal = self._foreign(scope, navigation=True)
            if refusal is None and not self._same(given):
                refusal = Refusal(401, "The token in this address is not the one this server was started with.")
            if refusal is None:
                await self._welcome(scope, send)
                return
        else:
            refusal = self._foreign(scope) or self._unknown(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await _answer(send, refusal.status, _page(refusal))

    def _foreign(self, scope: Scope, *, navigation: bool = False) -> Refusal | None:
        """Why the request does not come from this server's own pages, if so."""
        if self.peers.is_stranger(scope.get("client")):
            return Refusal(403, "This server is private to the user who started it.")
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return Refusal(421, "This server answers to 127.0.0.1 and localhost only.")
        origins = _headers(scope, b"origin")
        if origins and origins != [f"http://{hosts[0]}"]:
            return Refusal(403, "This request comes from a page of another origin.")
        sites = _headers(scope, b"sec-fetch-site")
        if all(site in {"same-origin", "none"} for site in sites):
            return None
        if navigation and _headers(scope, b"sec-fetch-mode") == ["navigate"] and not origins:
            return None
        return Refusal(403, "This request comes from a page of another site.")

    def _unknown(self, scope: Scope) -> Refusal | None:
        """Why the request does not carry our cookie, if so."""
        # Any of that name may be the right one: a page on another port can put one of its own beside it, but not over it.
        for line in _headers(scope, b"cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and self._same(value):
                    return None
        return Refusal(401, "This server is private to whoever started it.")

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode())

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """Keep the token as a cookie and go to the same address without it."""
        rest = [(name, value) for name, value in _query(scope) if name != "token"]
        # One leading slash: two would make the address another host.
        clean = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
        clean += "?" + urlencode(rest) if rest else ""
        cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        if all(site in {"same-origin", "none"} for site in _headers(scope, b"sec-fetch-site")):
            await _answer(send, 303, b"", [*headers, (b"location", clean.encode("latin-1"))])
            return
        # A Strict cookie is held back along a redirect that another page began, so this page begins a new one.
        self.welcomed()
        hop = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(clean)}">'
        await _answer(send, 200, hop.encode(), headers)


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _token_in(scope: Scope) -> str | None:
    return next((value for name, value in _query(scope) if name == "token"), None)


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    about = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    extra = headers if headers is not None else [(b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *extra]})
    await send({"type": "http.response.body", "body": body})


def _page(refusal: Refusal) -> bytes:
    advice = {
        401: "Open the address that <code>tdw</code> printed when it started: it begins with "
        "<code>http://127.0.0.1:</code> and ends in a token that opens this page.",
        403: "Open the address that <code>tdw</code> printed in a tab of its own.",
        421: "Use the address that <code>tdw</code> printed when it started.",
    }[refusal.status]
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Training Dynamics Workbench</title>
<meta name="color-scheme" content="light dark">
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}}
h1{{font-size:1.05rem;margin:0 0 .5rem}}p{{margin:0;opacity:.75}}code{{font-size:.9em}}</style>
<h1>{html.escape(refusal.reason)}</h1><p>{advice}</p></html>""".encode()

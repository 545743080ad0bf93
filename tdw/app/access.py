"""Who may talk to the server: a layer outside every route, ours and Gradio's alike.

Listening on loopback keeps other machines out, but neither a page in the same browser nor another user of the machine.
In order, each request must pass:

    user            whoever started the server, or root          else 403   (where the system says, see peers.py)
    Host            exactly 127.0.0.1:PORT or localhost:PORT     else 421   (a name rebound to us is not us)
    Origin          absent, or this very server                  else 403
    Sec-Fetch-Site  absent, same-origin or none                  else 403   (no page elsewhere reads or triggers)
    ?token=         the one of the address announced last        -> cookie, and 303 to the address without it
    cookie          this server's secret                         else 401
    address         a path of this server                        else 400   (OPTIONS *, and what a proxy is asked)

The token is good for one exchange (see tickets.py); with the cookie, an address that was used is the way in all the same.
The cookie is HttpOnly and SameSite=Strict, named after the port because cookies are shared between the ports of a host.
Nothing but HTTP is answered: a WebSocket's handshake is a request like any other, and no connection comes of it. Every
answer carries the headers of `policy.py`.

What passes is handed on with the few headers that the application has a use for. Others say where a request came from
before some proxy, or what it is to be taken for (X-Forwarded-Host, Forwarded, X-HTTP-Method-Override, …); there is no
proxy here, and the application's libraries would believe them. The cookie stays here as well.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from tdw.app import security_headers
from tdw.app.security_headers import Message, Send
from tdw.app.socket_owner import Peers
from tdw.app.tickets import Tickets, host

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PASSED = frozenset(
    (
        *(b"host", b"origin", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"cache-control"),
        *(b"content-type", b"content-length", b"transfer-encoding", b"last-event-id"),
        *(b"range", b"if-range", b"if-none-match", b"if-modified-since"),
    )
)
ANNOUNCING = 1.0  # seconds that an answer waits for the terminal to take the next address


class Refusal(NamedTuple):
    """Why a request is turned away."""

    status: int
    reason: str


class Guard:
    """An ASGI application that lets only the owner's browser through to `app`.

    Args:
        app: what is guarded
        port: the port the server listens on, part of the allowed hosts and of the cookie's name
        tickets: what lets a browser in
        peers: who may be at the other end
        welcomed: called when a browser has come in from another page, which is the one on disk
    """

    def __init__(
        self,
        app: App,
        *,
        port: int,
        tickets: Tickets,
        peers: Peers,
        welcomed: Callable[[], None],
    ):
        self.app = app
        self.peers = peers
        self.tickets = tickets
        self.welcomed = welcomed
        self.cookie = f"tdw-{port}"
        self.hosts = frozenset({host("127.0.0.1", port), host("localhost", port)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on. What is no request of HTTP is not answered."""
        if scope["type"] == "http":
            await self._http(scope, receive, security_headers.with_headers(send))
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _token_in(scope)
        coming_in = given is not None and scope["method"] == "GET"
        # The browser is sent here by a page on disk, which counts as another site; the token is what lets it in.
        refusal = self._foreign(scope, navigation=coming_in) or (None if coming_in else self._unknown(scope))
        if refusal is None and (not scope["path"].startswith("/") or scope["method"] == "CONNECT"):
            refusal = Refusal(400, "This is not an address of this server.")  # OPTIONS *, what a proxy is asked
        if refusal is None and coming_in:
            refusal = await self._admit(scope, send, str(given))
            if refusal is None:
                return
        if refusal is None:
            passed = [(name, value) for name, value in scope["headers"] if name.lower() in PASSED]
            await self.app({**scope, "headers": passed}, receive, send)
        elif _headers(scope, b"sec-fetch-mode") in ([], ["navigate"]):
            await _answer(send, refusal.status, _page(refusal))
        else:  # a script of ours shows the sentence
            said = json.dumps({"error": f"{refusal.reason} {ADVICE[refusal.status].replace('`', '')}"}).encode("ascii")
            await _answer(send, refusal.status, said, kind=b"application/json")

    async def _admit(self, scope: Scope, send: Send, given: str) -> Refusal | None:
        """Answer a request with a token, if it is the one that works, or if there is a better reason to let it in."""
        if self._unknown(scope) is None:
            await self._welcome(scope, send, [])
        elif self.tickets.redeem(given):
            cookie = f"{self.cookie}={self.tickets.cookie}; HttpOnly; SameSite=Strict; Path=/"
            # Before the answer, so that whoever has it can find the next address; but no terminal may hold it up.
            announcing = asyncio.get_running_loop().run_in_executor(None, self.tickets.announce)
            await asyncio.wait({announcing}, timeout=ANNOUNCING)
            await self._welcome(scope, send, [(b"set-cookie", cookie.encode())])
        elif not self.tickets.was_used(given):
            return Refusal(401, "The token in this address is not one of this server's.")
        elif _from_elsewhere(scope):
            # A Strict cookie is held back from what another page, or a mail, leads to; the browser may well have it.
            await self._welcome(scope, send, [])
        else:
            return Refusal(401, "This address has been used: it lets one browser in, once.")
        return None

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
                if name == self.cookie and self.tickets.is_cookie(value):
                    return None
        return Refusal(401, "This browser has no access to this server, or lost it.")

    async def _welcome(self, scope: Scope, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        """Go to the same address without the token."""
        rest = [(name, value) for name, value in _query(scope) if name != "token"]
        # One leading slash: two would make the address another host.
        clean = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
        clean += "?" + urlencode(rest) if rest else ""
        headers = [*extra, (b"cache-control", b"no-store")]
        if not _from_elsewhere(scope):
            await _answer(send, 303, b"", [*headers, (b"location", clean.encode("latin-1"))])
            return
        # A Strict cookie is held back along a redirect that another page began, so this page begins a new one.
        if extra:
            self.welcomed()
        hop = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(clean)}">'
        await _answer(send, 200, hop.encode(), headers)


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _token_in(scope: Scope) -> str | None:
    return next((value for name, value in _query(scope) if name == "token"), None)


def _from_elsewhere(scope: Scope) -> bool:
    return not all(site in {"same-origin", "none"} for site in _headers(scope, b"sec-fetch-site"))


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
    kind: bytes = b"text/html; charset=utf-8",
) -> None:
    about = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    extra = headers if headers is not None else [(b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *extra]})
    await send({"type": "http.response.body", "body": body})


ADVICE = {
    400: "Use the address that tdw printed.",
    401: "Open the newest address that tdw printed in its terminal: each works once, and a new one is printed when one was "
    "used. Without that terminal, `tdw open` gives another; jobs go on meanwhile.",
    403: "Open the address that tdw printed in a tab of its own.",
    421: "Use the address that tdw printed when it started.",
}


def _page(refusal: Refusal) -> bytes:
    advice = re.sub("`(.*?)`", r"<code>\1</code>", html.escape(ADVICE[refusal.status]))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Training Dynamics Workbench</title>
<meta name="color-scheme" content="light dark">
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}}
h1{{font-size:1.05rem;margin:0 0 .5rem}}p{{margin:0;opacity:.75}}code{{font-size:.9em}}</style>
<h1>{html.escape(refusal.reason)}</h1><p>{advice}</p></html>""".encode()

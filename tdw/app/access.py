"""Access control: a layer in front of all routes, ours and Gradio's.

Listening on loopback keeps other machines out, but not pages in the same browser or other users of the machine. Each
request must pass these checks, in this order:

    user            the user who started the server, root, or one of --allow-user
                                                                 else 403   (on Linux, see socket_owner.py)
    Host            127.0.0.1, localhost or [::1], any port, or exactly one of --trust-host
                                                                 else 421   (against DNS rebinding)
    Origin          absent, or http:// and that Host; for a trusted host also https://
                                                                 else 403
    Sec-Fetch-Site  absent, same-origin or none                  else 403   (against cross-site requests)
    ?token=         the current token                            -> cookie, and 303 to the address without it
    cookie          this server's secret                         else 401
    address         a path of this server                        else 400   (OPTIONS *, proxy requests)

The port in Host may be any, because a forwarded port (`ssh -L 9001:localhost:7995`) has another number here than there;
rebinding needs a name of its own, which these are not. A token can be exchanged once (see tickets.py); a browser that has
the cookie may use an old address. The cookie is HttpOnly and SameSite=Strict, is sent only below the root path, and has a
name of this server's own, because cookies are shared between the ports of a host, and servers of two machines may be
forwarded to one. It is Secure if a browser came over https through a proxy. Only HTTP is answered: a WebSocket handshake is
treated as an ordinary request. Every response carries the headers of security_headers.py.

Requests are passed on with an allowlist of headers. Others (X-Forwarded-Host, Forwarded, X-HTTP-Method-Override, …) would
change how libraries interpret the request, and anyone can send them; what is to be known of a proxy is said on the command
line (see proxy.py). The cookie is not passed on either.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from tdw.app import security_headers
from tdw.app.proxy import NO_PROXY, Proxy
from tdw.app.security_headers import Message, Send
from tdw.app.socket_owner import Peers
from tdw.app.tickets import Tickets

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
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[1-9]\d{0,4})?", re.ASCII)
ANNOUNCING = 1.0  # seconds that a response waits for the terminal to print the next address


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    reason: str


class Guard:
    """An ASGI application that passes only requests of the owner's browser to `app`.

    Args:
        app: the guarded application
        tickets: tokens and cookie
        peers: checks the user of a connection
        welcomed: called when a browser was let in from another page (the redirect page on disk)
        proxy: how a proxy reaches the server
    """

    def __init__(
        self,
        app: App,
        *,
        tickets: Tickets,
        peers: Peers,
        welcomed: Callable[[], None],
        proxy: Proxy = NO_PROXY,
    ):
        self.app = app
        self.peers = peers
        self.tickets = tickets
        self.welcomed = welcomed
        self.proxy = proxy
        self.cookie = f"tdw-{secrets.token_hex(8)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on. Anything but HTTP is ignored."""
        if scope["type"] == "http":
            await self._http(scope, receive, security_headers.with_headers(send))
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = _token_in(scope)
        coming_in = given is not None and scope["method"] == "GET"
        # The browser comes from a page on disk, which counts as cross-site; the token authorizes it.
        refusal = self._foreign(scope, navigation=coming_in) or (None if coming_in else self._unknown(scope))
        if refusal is None and (not scope["path"].startswith("/") or scope["method"] == "CONNECT"):
            refusal = Refusal(400, "This is not an address of this server.")  # OPTIONS *, proxy requests
        if refusal is None and coming_in:
            refusal = await self._admit(scope, send, str(given))
            if refusal is None:
                return
        if refusal is None:
            passed = [(name, value) for name, value in scope["headers"] if name.lower() in PASSED]
            await self.app({**scope, "headers": passed}, receive, send)
        elif _headers(scope, b"sec-fetch-mode") in ([], ["navigate"]):
            await _answer(send, refusal.status, _page(refusal))
        else:  # our scripts show the message
            body = json.dumps({"error": f"{refusal.reason} {ADVICE[refusal.status].replace('`', '')}"}).encode("ascii")
            await _answer(send, refusal.status, body, kind=b"application/json")

    async def _admit(self, scope: Scope, send: Send, given: str) -> Refusal | None:
        """Answer a request that has a token: let it in if the token is current, or the browser has access already."""
        if self._unknown(scope) is None:
            await self._welcome(scope, send, [])
        elif self.tickets.redeem(given):
            cookie = (
                f"{self.cookie}={self.tickets.cookie}; HttpOnly; SameSite=Strict; Path={self.proxy.root_path or '/'}"
            )
            if self._is_through_proxy(scope) and _headers(scope, b"sec-fetch-site"):
                cookie += "; Secure"  # browsers say where a request comes from only over https and to loopback names
            # Before the response, so that the next address is printed by then; but a blocked terminal must not delay it.
            announcing = asyncio.get_running_loop().run_in_executor(None, self.tickets.announce_next)
            await asyncio.wait({announcing}, timeout=ANNOUNCING)
            await self._welcome(scope, send, [(b"set-cookie", cookie.encode())])
        elif not self.tickets.was_used(given):
            return Refusal(401, "The token in this address is not one of this server's.")
        elif _from_elsewhere(scope):
            # Browsers withhold Strict cookies on navigation from other pages; this browser may well have it.
            await self._welcome(scope, send, [])
        else:
            return Refusal(401, "This address was used already: each address works once.")
        return None

    def _foreign(self, scope: Scope, *, navigation: bool = False) -> Refusal | None:
        """The refusal of a request that does not come from this server's own pages, if it does not."""
        if self.peers.is_stranger(scope.get("client")):
            return Refusal(
                403,
                "This server is private to the user who started it. A proxy that runs as another user is let in with --allow-user.",
            )
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not (LOOPBACK.fullmatch(hosts[0]) or hosts[0].lower() in self.proxy.hosts):
            return Refusal(
                421, f"This server answers to {_listed(['127.0.0.1', 'localhost', '[::1]', *self.proxy.hosts])} only."
            )
        origins = _headers(scope, b"origin")
        ours = [f"http://{hosts[0]}"]
        if self._is_through_proxy(scope):
            ours = [f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")]
        if origins and not (len(origins) == 1 and origins[0] in ours):
            return Refusal(403, "This request comes from another origin.")
        sites = _headers(scope, b"sec-fetch-site")
        if all(site in {"same-origin", "none"} for site in sites):
            return None
        if navigation and _headers(scope, b"sec-fetch-mode") == ["navigate"] and not origins:
            return None
        return Refusal(403, "This request comes from another site.")

    def _is_through_proxy(self, scope: Scope) -> bool:
        """Whether a request is to a name that is accepted only because a proxy has it."""
        return any(host.lower() in self.proxy.hosts for host in _headers(scope, b"host"))

    def _unknown(self, scope: Scope) -> Refusal | None:
        """The refusal of a request without our cookie, if it has none."""
        # Check all cookies of that name: a page on another port can add one, but cannot replace ours.
        for line in _headers(scope, b"cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and self.tickets.is_cookie(value):
                    return None
        return Refusal(401, "This browser has no access to this server, or has lost it.")

    async def _welcome(self, scope: Scope, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        """Redirect to the same address without the token."""
        rest = [(name, value) for name, value in _query(scope) if name != "token"]
        # Relative, so that it holds below the path of any proxy, also of those that put their own in front of absolute ones.
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        clean = "./" + re.split(r"[/\\]", path)[-1]
        clean += "?" + urlencode(rest) if rest else ""
        headers = [*extra, (b"cache-control", b"no-store")]
        if not (_from_elsewhere(scope) or (self._is_through_proxy(scope) and not _headers(scope, b"sec-fetch-site"))):
            await _answer(send, 303, b"", [*headers, (b"location", clean.encode("latin-1"))])
            return
        # Browsers withhold Strict cookies in redirects that started on another page, so this page starts a new navigation.
        if extra:
            self.welcomed()
        hop = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(clean)}">'
        await _answer(send, 200, hop.encode(), headers)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


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
    401: "Open the newest address that tdw printed in its terminal: each address works once, and then a new one is printed. "
    "Without that terminal, run `tdw open` again; jobs keep running.",
    403: "Open the address that tdw printed in a new tab.",
    421: "Use the address that tdw printed when it started. To reach it through a proxy that has a name, start it with "
    "`--trust-host NAME`.",
}


def _page(refusal: Refusal) -> bytes:
    advice = re.sub("`(.*?)`", r"<code>\1</code>", html.escape(ADVICE[refusal.status]))
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Training Dynamics Workbench</title>
<meta name="color-scheme" content="light dark">
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}}
h1{{font-size:1.05rem;margin:0 0 .5rem}}p{{margin:0;opacity:.75}}code{{font-size:.9em}}</style>
<h1>{html.escape(refusal.reason)}</h1><p>{advice}</p></html>""".encode()

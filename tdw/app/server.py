"""The local server: our routes and Gradio's window, behind access control, on loopback only."""

from __future__ import annotations

import contextlib
import gc
import html
import logging
import os
import re
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tdw.app import proxy as proxies
from tdw.app.access import App, Guard, Receive, Scope
from tdw.app.body_limit import BodyLimit
from tdw.app.gradio_calls import FormCalls
from tdw.app.proxy import NO_PROXY, Proxy
from tdw.app.recent_files import REDIRECT_PREFIX
from tdw.app.security_headers import Send
from tdw.app.session import Session
from tdw.app.socket_owner import Peers
from tdw.app.tickets import Tickets
from tdw.errors import AppError
from tdw.safe_text import visible
from tdw.state_dir import private_folder, without_fail, write_private

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

HOST = "127.0.0.1"
log = logging.getLogger("tdw.store.server")  # the command line prints the log of `tdw.store`

# The routes of Gradio that the window uses: its page, its scripts, and the calls of the form. All others (uploads, files,
# proxies, queues, API pages) are closed.
GRADIO = frozenset({"/", "/theme.css", "/favicon.ico", "/gradio_api/run/predict"})
GRADIO_FILES = re.compile(
    r"/(assets|static)/[\w.@~+/-]{1,200}", re.ASCII
)  # other names would reach the file system, and fail there


def build(session: Session, root_path: str = "") -> tuple[FastAPI, gr.Blocks]:
    """The application without the layers around it (our routes, and Gradio at `/`), and its Gradio part."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: no outside connections
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(private_folder(session.recent_files.folder / "gradio"))
    before = os.umask(0o077)  # for the folders that Gradio creates; jobs use the user's umask
    try:
        from fastapi import FastAPI

        from tdw.app import gradio_shell, routes

        application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        blocks = gradio_shell.mount(application, session, routes.add(application, session), root_path)
    finally:
        os.umask(before)
    return application, blocks


def layered(session: Session, root_path: str = "") -> App:
    """The application inside its layers: root path, allowed routes, body size, valid calls of the form."""
    application, blocks = build(session, root_path)
    from tdw.app import gradio_shell

    used = OnlyUsed(BodyLimit(FormCalls(application, *gradio_shell.calls(blocks))), OURS)
    return BelowRootPath(used, root_path) if root_path else used


class OnlyUsed:
    """An ASGI layer that answers 404 for routes that the window does not use."""

    def __init__(self, app: App, ours: frozenset[str]):
        self.app = app
        self.ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._used(scope["path"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Not found.\n"})

    def _used(self, path: str) -> bool:
        first = "/" + path.split("/")[1]
        return first in self.ours or path in GRADIO or GRADIO_FILES.fullmatch(path) is not None


class BelowRootPath:
    """An ASGI layer that removes the root path from the paths of requests, where the proxy has left it.

    A path that is exactly the root path is answered with a redirect to the one with a slash, from which the page's relative
    addresses start.
    """

    def __init__(self, app: App, root_path: str):
        self.app = app
        self.root_path = unquote(root_path)
        self.with_slash = f"./{root_path.rpartition('/')[2]}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == self.root_path:
            query = scope.get("query_string", b"")
            where = self.with_slash.encode() + (b"?" + query if query else b"")
            headers = [(b"location", where), (b"content-length", b"0"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            if scope["path"].startswith(f"{self.root_path}/"):
                scope = {name: value for name, value in scope.items() if name != "raw_path"}
                scope["path"] = scope["path"].removeprefix(self.root_path)
            await self.app(scope, receive, send)


OURS = frozenset({"/runs", "/library", "/folders", "/now", "/events", "/do"})
# With what addresses of this server begin; a root path that begins so could not be told from them.
FIRST_PARTS = frozenset(path.split("/")[1] for path in OURS | GRADIO) - {""} | {"assets", "static"}


def reached_through(root_path: str | None, hosts: Sequence[str], users: Sequence[str]) -> Proxy:
    """How a proxy reaches this server, as named on the command line. Raises AppError if something is not allowed."""
    return proxies.configured(root_path, hosts, users, FIRST_PARTS)


def serve(
    paths: Sequence[str | Path],
    port: int | None,
    open_browser: bool,
    announce: Callable[[str], None],
    proxy: Proxy = NO_PROXY,
) -> None:
    """Serve the window until Ctrl-C. Jobs that it started keep running afterwards.

    paths: files, patterns and folders; the first file is shown, see `Session.start_with`
    announce: called with each line that says which address to open, now and when that was used
    proxy: how a proxy reaches the server

    Raises ProjectError if a file cannot be opened, AppError if `port` cannot be used.
    """
    session = Session()
    session.start_with(paths)
    with contextlib.closing(session), _listening(port) as listener:
        number = listener.getsockname()[1]
        tickets = Tickets(number, announce, proxy)
        tickets.announce()
        with _redirect_page(session.recent_files.folder, tickets.address, number, open_browser) as remove_page:
            # Importing Gradio takes seconds; the browser starts in the meantime, and its first request waits on the socket.
            application = layered(session, proxy.root_path)
            _log_plainly(tickets)
            peers = Peers(listener, proxy.users)
            guard = Guard(application, tickets=tickets, peers=peers, welcomed=remove_page, proxy=proxy)
            _run(guard, listener, session)


class _PlainFormatter(logging.Formatter):
    """Log records with control characters made visible and secrets removed."""

    def __init__(self, tickets: Tickets):
        super().__init__("%(levelname)s: %(message)s")
        self.tickets = tickets

    def format(self, record: logging.LogRecord) -> str:
        text = visible(super().format(record), lines=True)
        for secret in self.tickets.secrets:
            text = text.replace(secret, "(secret)")
        return text


def _log_plainly(tickets: Tickets) -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_PlainFormatter(tickets))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _run(application: App, listener: socket.socket, session: Session) -> None:
    """Serve on `listener` until a signal arrives."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            session.hub.close()  # open event streams would delay the shutdown
            await super().shutdown(sockets)

    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="error",  # otherwise any page in the browser could flood the terminal with warnings
        access_log=False,
        ws="none",  # handshakes are treated as ordinary requests
        server_header=False,
        proxy_headers=False,  # otherwise X-Forwarded-For could fake the client address
        http="h11",  # the parser that limits the size of request headers
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    # Modules loaded so far stay in memory. Frozen, they are not traversed again, and garbage of requests is collected
    # soon; without this, 20 MB of it accumulate.
    gc.collect()
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has closed everything
        Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(port: int | None) -> Iterator[socket.socket]:
    """A listening socket; connections wait until the server is up.

    Its protocol is explicit, because asyncio sets TCP_NODELAY only on sockets with protocol TCP; otherwise each response
    waits 40 ms for the browser to acknowledge its headers.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if sys.platform != "win32":  # on Windows it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port or 0))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "out of range"
            raise AppError(
                f"port {port} cannot be used ({why.lower()}): choose another with --port, or omit it for a free one"
            ) from error
        listener.listen(128)
        yield listener


@contextlib.contextmanager
def _redirect_page(folder: Path, address: str, port: int, open_browser: bool) -> Iterator[Callable[[], None]]:
    """Open the browser on a private file that redirects to the address, so that the token is not in a process list.

    Yields a function that removes the file, to be called once the browser is connected.
    """
    if not open_browser:
        yield lambda: None
        return
    page = folder / f"{REDIRECT_PREFIX}{port}.html"
    target = html.escape(address)
    text = (
        f'<!doctype html><meta charset="utf-8"><title>tdw</title><meta http-equiv="refresh" content="0;url={target}">'
    )
    try:
        write_private(page, text.encode())
    except OSError as error:
        log.warning(
            "cannot open a browser, because %s is not writable (%s): open the address above", page, error.strerror
        )
        yield lambda: None
        return
    threading.Thread(target=_open_browser, args=(page.as_uri(),), daemon=True).start()

    def remove() -> None:
        without_fail(page.name, partial(page.unlink, missing_ok=True))

    try:
        yield remove
    finally:
        remove()


def _open_browser(address: str) -> None:
    """Open a page in the user's browser. Some browsers block until they exit."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return  # none is installed; the address was printed
    # A text browser would take over the terminal, so it is used only if $BROWSER names it.
    if "BROWSER" in os.environ or type(browser) is not webbrowser.GenericBrowser:
        browser.open(address)

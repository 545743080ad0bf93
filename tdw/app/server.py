"""The local server: our routes and Gradio's window, behind the guard, on loopback alone."""

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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tdw.app.access import App, Guard, Receive, Scope
from tdw.app.bounds import Bounded
from tdw.app.gradio_calls import FormCalls
from tdw.app.recent_files import DOORS
from tdw.app.security_headers import Send
from tdw.app.session import Workbench
from tdw.app.socket_owner import Peers
from tdw.app.tickets import Tickets
from tdw.errors import AppError
from tdw.safe_text import visible
from tdw.state_dir import private_folder, without_fail, write_private

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

HOST = "127.0.0.1"
log = logging.getLogger("tdw.store.server")  # the command line prints what `tdw.store` has to say

# The routes of Gradio that the window uses: its page, its scripts, and the calls of the form. Whatever else it brings
# (uploads, files, proxies, queues, API pages) is closed.
GRADIO = frozenset({"/", "/theme.css", "/favicon.ico", "/gradio_api/run/predict"})
GRADIO_FILES = re.compile(
    r"/(assets|static)/[\w.@~+/-]{1,200}", re.ASCII
)  # others it asks the file system for, and fails


def build(workbench: Workbench) -> tuple[FastAPI, gr.Blocks]:
    """The whole application but for the layers around it: our routes, and Gradio at `/`; and Gradio's part."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: no look-up of outside hosts
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(private_folder(workbench.library.folder / "gradio"))
    before = os.umask(0o077)  # Gradio makes folders of its own there; jobs, later, are to have the user's
    try:
        from fastapi import FastAPI

        from tdw.app import gradio_shell, routes

        application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        blocks = gradio_shell.mount(application, workbench, routes.add(application, workbench))
    finally:
        os.umask(before)
    return application, blocks


def layered(workbench: Workbench) -> App:
    """The application in its layers, from the outside: what is used, how much of it, and what the form may ask."""
    application, blocks = build(workbench)
    from tdw.app import gradio_shell

    return OnlyUsed(Bounded(FormCalls(application, *gradio_shell.calls(blocks))), OURS)


class OnlyUsed:
    """An ASGI layer that answers 404 for the routes of Gradio that the window has no use for."""

    def __init__(self, app: App, ours: frozenset[str]):
        self.app = app
        self.ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._used(scope["path"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"There is nothing at this address.\n"})

    def _used(self, path: str) -> bool:
        first = "/" + path.split("/")[1]
        return first in self.ours or path in GRADIO or GRADIO_FILES.fullmatch(path) is not None


OURS = frozenset({"/runs", "/now", "/events", "/do"})


def serve(path: Path | None, port: int | None, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the window until Ctrl-C, showing `path` first. Jobs started from it go on after it has ended.

    `announce` gets the address that lets a browser in, and the next one when it was used. Raises ProjectError when `path` cannot be opened, AppError when
    `port` cannot be used.
    """
    workbench = Workbench()
    if path is not None:
        workbench.open(str(path))
    with contextlib.closing(workbench), _listening(port) as listener:
        number = listener.getsockname()[1]
        tickets = Tickets(number, announce)
        announce(tickets.address)
        with _way_in(workbench.library.folder, tickets.address, number, open_browser) as close_it:
            # Importing Gradio takes seconds; the browser starts meanwhile, and its first request waits on the socket.
            application = layered(workbench)
            _log_plainly(tickets)
            guard = Guard(application, port=number, tickets=tickets, peers=Peers(listener), welcomed=close_it)
            _run(guard, listener, workbench)


class _Plain(logging.Formatter):
    """Records as text that no terminal obeys, without what lets a browser in."""

    def __init__(self, tickets: Tickets):
        super().__init__("%(levelname)s: %(message)s")
        self.tickets = tickets

    def format(self, record: logging.LogRecord) -> str:
        text = visible(super().format(record), lines=True)
        for secret in self.tickets.secrets:
            text = text.replace(secret, "(a secret)")
        return text


def _log_plainly(tickets: Tickets) -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Plain(tickets))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _run(application: App, listener: socket.socket, workbench: Workbench) -> None:
    """Serve on `listener` until a signal comes."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            workbench.hub.close()  # open event streams would keep the server from ending
            await super().shutdown(sockets)

    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="error",  # any page in the browser could fill the terminal with warnings
        access_log=False,
        ws="none",  # there is no WebSocket here; a handshake is a request like any other
        server_header=False,
        proxy_headers=False,  # whoever sends X-Forwarded-For would be taken for someone else
        http="h11",  # the one parser that bounds what it keeps of a head
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    # What is loaded by now stays for good. Set aside, it is not gone through again and again, and what requests leave
    # behind is collected soon: without this, 20 MB of it gather first.
    gc.collect()
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has closed everything
        Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(port: int | None) -> Iterator[socket.socket]:
    """A socket that takes connections already; they wait until the server is up.

    Its protocol is named, because asyncio sends small answers at once only on sockets that say they are TCP: else each
    answer waits 40 ms for the browser to acknowledge its head.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port or 0))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "out of range"
            raise AppError(
                f"port {port} cannot be used ({why.lower()}): give another with --port, or leave it out for a free one"
            ) from error
        listener.listen(128)
        yield listener


@contextlib.contextmanager
def _way_in(folder: Path, address: str, port: int, open_browser: bool) -> Iterator[Callable[[], None]]:
    """Open the browser through a file only its owner can read, so that the token is in no list of processes.

    Yields what removes the file once the browser has come in.
    """
    if not open_browser:
        yield lambda: None
        return
    page = folder / f"{DOORS}{port}.html"
    target = html.escape(address)
    text = (
        f'<!doctype html><meta charset="utf-8"><title>tdw</title><meta http-equiv="refresh" content="0;url={target}">'
    )
    try:
        write_private(page, text.encode())
    except OSError as error:
        log.warning(
            "no browser was opened, because %s cannot be written (%s): open the address above", page, error.strerror
        )
        yield lambda: None
        return
    threading.Thread(target=_open_browser, args=(page.as_uri(),), daemon=True).start()

    def close_it() -> None:
        without_fail(page.name, partial(page.unlink, missing_ok=True))

    try:
        yield close_it
    finally:
        close_it()


def _open_browser(address: str) -> None:
    """Show a page in the user's browser. Some ways of doing so return only when the browser has ended."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return  # none is installed: the address has been announced
    # A browser that runs inside the terminal would take it over; whoever names one in $BROWSER means it.
    if "BROWSER" in os.environ or type(browser) is not webbrowser.GenericBrowser:
        browser.open(address)

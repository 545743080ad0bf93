"""The local server: FastAPI routes for data and commands, Gradio for the window, the guard around both.

GET  /runs/KEY/manifest                 what there is to draw
GET  /runs/KEY/array/NAME?from=ROW      committed rows, raw little-endian
GET  /runs/KEY/neurons?ids=3,17         closed-form tables of chosen neurons
GET  /runs/KEY/scores                   attention scores
GET  /now                               all news as of now: jobs, library, opened runs
GET  /events                            the same as server-sent events, whenever something changes
GET  /assets/NAME?v=HASH                scripts and styles, immutable
POST /do/open {path} · /do/train|analyze|stop|dismiss {key} · /do/forget {path}
anything else                           Gradio's, if the window needs it
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw.app.events import Hub, Message
from tdw.app.guard import App, Guard, Receive, Scope, Send, address
from tdw.app.jobs import Jobs
from tdw.app.library import Library, private_folder, write_private
from tdw.app.runs import Runs, key_of, typed_path
from tdw.errors import AppError, NotAProject, TdwError

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
IMMUTABLE = "private, max-age=31536000, immutable"

# The routes of Gradio that the window uses; whatever else it brings (uploads, files, proxies, API pages) is closed.
GRADIO_FILES = ("/assets/", "/static/", "/gradio_api/custom_component/")
GRADIO_CALLS = ("/gradio_api/heartbeat/", "/gradio_api/run/", "/gradio_api/queue/")
GRADIO_PAGES = frozenset(
    {"/", "/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/config"}
    | {"/gradio_api/startup-events", "/gradio_api/app_id", "/gradio_api/reset", "/gradio_api/cancel"}
)


class Workbench:
    """What the window works on: the library, the opened runs, the jobs, and the news of all three."""

    def __init__(self) -> None:
        self.library = Library()
        self.runs = Runs(self.library)
        self.jobs = Jobs(self.runs)
        self.hub = Hub(self.look)

    def look(self) -> dict[str, Message]:
        """All news by topic: what `/now` answers and `/events` compares."""
        jobs = self.jobs.poll()
        news: dict[str, Message] = {"jobs": {"type": "jobs", "jobs": jobs}, "library": self._library()}
        for run in self.runs.held():
            message: Message = {"type": "run", "key": run.key, "job": self.jobs.of(run.key), "error": None}
            try:
                run.refresh()
                message |= run.progress()
            except TdwError as error:
                message |= {"state": "lost", "error": str(error)}
                self.runs.drop(run)
            news[f"run {run.key}"] = message
        return news

    def _library(self) -> Message:
        entries = [
            {
                "key": key_of(Path(entry.path)),
                "path": entry.path,
                "name": Path(entry.path).stem,
                "folder": str(Path(entry.path).parent),
                "about": entry.about,
                "there": Path(entry.path).exists(),
            }
            for entry in self.library.entries()
        ]
        return {"type": "library", "entries": entries, "current": self.runs.current}

    def open(self, text: str) -> str:
        """Open the file at the path someone typed; its key. Raises ProjectError."""
        path = typed_path(text)
        if path.is_dir():
            raise NotAProject(f"{path} is a folder: give the path of a project file in it (NAME.tdw)")
        key = self.runs.open(path).key
        self.hub.nudge()
        return key

    def train(self, path: Path, arguments: list[str]) -> str:
        """Start or resume training at `path`; its key."""
        self.jobs.start("train", path, arguments)
        key = self.runs.announce(path)
        self.hub.nudge()
        return key

    def analyze(self, path: Path) -> str:
        """Start the analyses of `path`; its key."""
        self.jobs.start("analyze", path)
        self.hub.nudge()
        return key_of(path)

    def close(self) -> None:
        """End the news and let go of the files. Jobs go on."""
        self.hub.close()
        self.runs.close()


def build(workbench: Workbench) -> FastAPI:
    """The whole application but for the guard: our routes, and Gradio at `/`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported: no look-up of outside hosts
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(private_folder(workbench.library.folder / "gradio"))
    from fastapi import FastAPI

    from tdw.app import shell

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _data_routes(application, workbench)
    _command_routes(application, workbench)
    assets = _asset_routes(application)
    shell.mount(application, workbench, assets)
    return application


def _data_routes(application: FastAPI, workbench: Workbench) -> None:
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse

    runs = workbench.runs

    @application.exception_handler(TdwError)
    async def refused(_request: Request, error: TdwError) -> JSONResponse:
        """The one place where a refusal becomes an answer; anything else keeps its traceback in the terminal."""
        return JSONResponse({"error": str(error)}, status_code=404 if isinstance(error, AppError) else 409)

    def raw(data: Any) -> Response:
        headers = {"Cache-Control": "no-store", "X-Shape": ",".join(map(str, data.shape))}
        return Response(data.tobytes(), media_type="application/octet-stream", headers=headers)

    @application.get("/runs/{key}/manifest")
    def manifest(key: str) -> JSONResponse:
        found = runs.get(key).manifest() | {"job": workbench.jobs.of(key)}
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    @application.get("/runs/{key}/array/{name:path}")
    def array(key: str, name: str, request: Request) -> Response:
        return raw(runs.get(key).array(name, _whole(request.query_params.get("from", "0"), "from")))

    @application.get("/runs/{key}/neurons")
    def neurons(key: str, ids: str = "") -> Response:
        return raw(runs.get(key).neurons(_whole(part, "ids") for part in ids.split(",")))

    @application.get("/runs/{key}/scores")
    def scores(key: str) -> Response:
        return raw(runs.get(key).scores())

    @application.get("/now")
    def now() -> JSONResponse:
        return JSONResponse(list(workbench.look().values()), headers={"Cache-Control": "no-store"})

    @application.get("/events")
    async def events() -> StreamingResponse:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(workbench.hub.stream(), media_type="text/event-stream", headers=headers)


def _command_routes(application: FastAPI, workbench: Workbench) -> None:
    from fastapi import Body

    def command(name: str, act: Callable[[str], str | None]) -> None:
        def run(given: str) -> dict[str, Any]:
            key = act(given)
            workbench.hub.nudge()
            return {"key": key}

        # Two shapes of the same route: commands on a path someone typed, and on a run that is known.
        if name in {"open", "forget"}:

            @application.post(f"/do/{name}")
            def by_path(path: str = Body(embed=True)) -> dict[str, Any]:
                return run(path)

        else:

            @application.post(f"/do/{name}")
            def by_key(key: str = Body(embed=True)) -> dict[str, Any]:
                return run(key)

    command("open", workbench.open)
    command("forget", lambda path: workbench.library.forget(Path(path)))
    command("train", lambda key: workbench.train(workbench.runs.path(key), []))
    command("analyze", lambda key: workbench.analyze(workbench.runs.path(key)))
    command("stop", workbench.jobs.stop)
    command("dismiss", workbench.jobs.dismiss)


def _asset_routes(application: FastAPI) -> dict[str, str]:
    """Serve scripts and styles under addresses that change with their bytes; those addresses by name."""
    from tdw.viewer import page

    here = Path(__file__).parent
    files = [
        *page.assets(),
        ("shell.js", here / "shell.js", "text/javascript"),
        ("shell.css", here / "shell.css", "text/css"),
    ]
    addresses = {}
    for name, path, media_type in files:
        application.get(f"/assets/{name}")(_asset(Path(path), media_type))
        digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
        addresses[name] = f"/assets/{name}?v={digest}"
    return addresses


def _asset(path: Path, media_type: str) -> Callable[[], Any]:
    from fastapi.responses import FileResponse

    def asset() -> Any:
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": IMMUTABLE})

    return asset


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise AppError(f"{name}={text!r} is not allowed: give whole numbers from 0 on")
    return int(text)


class OnlyUsed:
    """An ASGI layer that answers 404 for the routes of Gradio that the window has no use for."""

    def __init__(self, app: App, ours: frozenset[str]):
        self.app = app
        self.ours = ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._used(scope["path"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"There is nothing at this address.\n"})

    def _used(self, path: str) -> bool:
        first = "/" + path.split("/")[1]
        return first in self.ours or path in GRADIO_PAGES or path.startswith(GRADIO_FILES + GRADIO_CALLS)


OURS = frozenset({"/runs", "/now", "/events", "/do"})


def serve(path: Path | None, port: int | None, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the window until Ctrl-C, showing `path` first. Jobs started from it go on after it has ended.

    `announce` gets the address with its token, once. Raises ProjectError when `path` cannot be opened, AppError when
    `port` cannot be used.
    """
    workbench = Workbench()
    if path is not None:
        workbench.open(str(path))
    with contextlib.closing(workbench), _listening(port) as listener:
        number = listener.getsockname()[1]
        token = secrets.token_urlsafe(32)
        announce(address(number, token))
        with _way_in(workbench.library.folder, address(number, token), number, open_browser):
            # Importing Gradio takes seconds; the browser starts meanwhile, and its first request waits on the socket.
            application = OnlyUsed(build(workbench), OURS)
            _run(Guard(application, port=number, token=token), listener, workbench)


def _run(application: App, listener: socket.socket, workbench: Workbench) -> None:
    """Serve on `listener` until a signal comes."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            workbench.hub.close()  # open event streams would keep the server from ending
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application,  # type: ignore[arg-type]  # uvicorn's own spelling of the same protocol
        log_level="warning",
        access_log=False,  # it would write the token down
        server_header=False,
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has closed everything
        Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(port: int | None) -> Iterator[socket.socket]:
    """A socket that takes connections already; they wait until the server is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
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
def _way_in(folder: Path, address: str, port: int, open_browser: bool) -> Iterator[None]:
    """Open the browser through a file only its owner can read, so that the token is in no list of processes."""
    if not open_browser:
        yield
        return
    page = folder / f"open-{port}.html"
    target = html.escape(address)
    text = (
        f'<!doctype html><meta charset="utf-8"><title>tdw</title><meta http-equiv="refresh" content="0;url={target}">'
    )
    write_private(page, text.encode())
    try:
        browser = webbrowser.get()
        # A browser inside the terminal would take over the terminal this server was started from.
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(page.as_uri())
    except webbrowser.Error:
        pass  # none is installed: the address has been announced
    try:
        yield
    finally:
        page.unlink(missing_ok=True)

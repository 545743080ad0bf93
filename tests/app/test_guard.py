"""Access control, with real requests to a running app."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import os
import re
import socket
import socketserver
import threading

import pytest

from tdw.app import access
from tdw.app.tickets import Tickets
from tests import loops

pytest.importorskip("gradio")

JSON = {"Content_Type": "application/json"}


def test_the_page_asks_for_no_manifest_of_an_app(window):
    """Gradio's page links one, which this server does not have."""
    assert b'rel="manifest"' not in window.get("/")


def test_the_token_becomes_a_cookie_and_leaves_the_address(window):
    answer = window.ask(f"/?token={window.token}&view=new")
    assert answer.status == 303
    assert answer.headers["location"] == "./?view=new"
    cookie = answer.headers["set-cookie"]
    assert re.match(r"tdw-[0-9a-f]{16}=[\w-]{43};", cookie)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Domain" not in cookie
    page = window.ask("/", Cookie=window.cookie)
    assert page.status == 200
    assert b"gradio" in page.body


def test_without_the_token_a_page_says_what_to_do(window):
    answer = window.ask("/")
    assert answer.status == 401
    assert "text/html" in answer.headers["content-type"]
    assert b"Open the newest address that tdw printed" in answer.body
    assert b"run <code>tdw open</code> again" in answer.body
    assert window.ask("/", Sec_Fetch_Mode="navigate").body == answer.body


def test_scripts_get_refusals_as_json(window):
    answer = window.ask("/now", Sec_Fetch_Mode="cors", Sec_Fetch_Site="same-origin")
    assert (answer.status, answer.headers["content-type"]) == (401, "application/json")
    assert "lost it. Open the newest address that tdw printed" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("token", ["", "x", "%C3%A4", "%00", "%ff"])
def test_a_wrong_token_gives_no_access_and_keeps_existing_access(window, token):
    refused = window.ask(f"/?token={token}")
    assert refused.status == 401
    assert "set-cookie" not in refused.headers
    known = window.ask(f"/?token={token}", Cookie=window.cookie)
    assert (known.status, known.headers["location"]) == (303, "./")
    assert "set-cookie" not in known.headers


def test_the_address_lets_one_browser_in_and_the_next_one_is_printed(window):
    first, token = window.address, window.token
    answer = window.ask(f"/?token={token}")
    assert answer.status == 303
    secret = answer.headers["set-cookie"].split(";")[0].partition("=")[2]
    assert secret not in {"", token}
    # It remains in the history, where it is worthless.
    again = window.ask(f"/?token={token}")
    assert again.status == 401
    assert b"This address was used already" in again.body
    assert "set-cookie" not in again.headers
    assert window.ask("/now", Cookie=f"{window.cookie_name}={token}").status == 401
    # The browser that has the cookie may open it any number of times.
    known = window.ask(f"/?token={token}&view=new", Cookie=f"{window.cookie_name}={secret}")
    assert (known.status, known.headers["location"]) == (303, "./?view=new")
    assert "set-cookie" not in known.headers
    # Only a browser that opens the address uses it up; other requests do not.
    assert window.address != first
    second = window.token
    assert window.ask(f"/?token={second}", "HEAD").status == 401
    assert window.ask(f"/?token={second}", "POST").status == 401
    assert window.ask(f"/?token={second}", host="evil.example").status == 421
    assert window.ask(f"/?token={second}", Origin="http://evil.example").status == 403
    assert window.ask(f"/?token={second}", Cookie=window.cookie).status == 303
    assert window.token == second
    assert window.ask(f"/?token={second}").status == 303
    assert window.token != second


def test_a_used_address_that_another_page_leads_to_opens_where_the_cookie_is(window):
    """Browsers do not send a Strict cookie with navigation from another site, so the page reloads itself once."""
    token = window.token
    assert window.ask(f"/?token={token}").status == 303
    hop = window.ask(f"/?token={token}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert hop.status == 200
    assert b'content="0;url=./"' in hop.body
    assert "set-cookie" not in hop.headers
    never = window.ask("/?token=never", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert never.status == 401


@pytest.mark.parametrize("cookie", ["tdw=x", "{name}=", "{name}=wrong", "other={token}", ";;=", "tdw-1={token}"])
def test_a_wrong_cookie_is_refused(window, cookie):
    assert window.ask("/", Cookie=cookie.format(name=window.cookie_name, token=window.token)).status == 401


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "localhost:9001",
        "127.0.0.1:1",
        "localhost",
        "127.0.0.1",
        "[::1]",
    ],
)
def test_its_own_names_are_answered(window, host):
    host = host.format(port=window.port)
    assert window.ask("/now", host=host, Cookie=window.cookie).status == 200
    assert window.ask("/now", host=host, Cookie=window.cookie, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "evil.example", "127.0.0.1.evil.example:{port}", "localhost.evil.example:{port}",
     "localhost:{port}.evil.example", "localhost@evil.example:{port}", "evil.example:localhost", "localhost:", "localhost:x",
     "localhost:123456", "localhost:٣", "sub.localhost:{port}", "LOCALHOST:{port}", "127.1:{port}", "127.0.0.2:{port}", " "],
)  # fmt: skip
def test_any_other_host_is_refused(window, host):
    host = host.format(port=window.port)
    assert window.ask("/", host=host, Cookie=window.cookie).status == 421
    assert window.ask(f"/?token={window.token}", host=host).status == 421


def test_another_port_of_a_loopback_name_is_another_origin(window):
    for host in ("localhost:9001", window.host):
        for origin in (
            "http://localhost:9002",
            "http://127.0.0.1:9001",
            "https://localhost:9001",
            "http://localhost",
            "null",
        ):
            asked = window.ask("/now", host=host, Cookie=window.cookie, Origin=origin)
            assert asked.status == 403, (host, origin)


def test_a_forwarded_port_is_answered(window):
    """As by `ssh -L 9001:localhost:7995`: the browser's port is not the server's."""
    with forwarded(window.port) as port:
        there = copy.copy(window)
        there.port = port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
            answer = there.ask(f"/?token={window.token}", host=host)
            assert (answer.status, answer.headers["location"]) == (303, "./")
            cookie = answer.headers["set-cookie"].split(";")[0]
            assert there.ask("/now", host=host, Cookie=cookie, Origin=f"http://{host}").status == 200


def test_every_server_has_a_cookie_name_of_its_own():
    """Cookies are shared between ports, so that servers of two machines may meet in one browser."""
    tickets = Tickets(1, lambda _address: None)
    names = {access.Guard(None, tickets=tickets, peers=None, welcomed=lambda: None).cookie for _ in range(100)}
    assert len(names) == 100


@contextlib.contextmanager
def forwarded(port):
    """A port of its own that passes each connection on to `port`, byte by byte."""

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    class Forward(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection(("127.0.0.1", port)) as inner:
                back = threading.Thread(target=pump, args=(inner, self.request))
                back.start()
                pump(self.request, inner)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_two_hosts_are_refused(window):
    with socket.create_connection(("127.0.0.1", window.port)) as line:
        line.sendall(
            f"GET /now HTTP/1.1\r\nHost: {window.host}\r\nHost: evil.example\r\nCookie: {window.cookie}\r\n\r\n".encode()
        )
        status = int(line.recv(4096).split()[1])
    assert status in {400, 421}


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}", ""],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_origin_is_refused(window, origin, method):
    origin = origin.format(port=window.port)
    answer = window.ask("/do/open", method, Cookie=window.cookie, Origin=origin, body=b'{"path": "x"}', **JSON)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense", ""])
def test_another_site_is_refused(window, site):
    assert window.ask("/now", Cookie=window.cookie, Sec_Fetch_Site=site).status == 403
    assert window.ask("/", Cookie=window.cookie, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_its_own_pages_are_answered(window, site):
    assert window.ask("/now", Cookie=window.cookie, Sec_Fetch_Site=site).status == 200


def test_the_page_on_disk_may_bring_the_token_but_a_script_elsewhere_may_not(window):
    address = f"/?token={window.token}"
    by_link = window.ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert by_link.status == 200
    assert (
        b'content="0;url=./"' in by_link.body
    )  # Strict cookies are not sent along a redirect that another page started
    assert window.token.encode() not in by_link.body
    assert window.ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    assert window.ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors").status == 403


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%2F/evil.example"])
def test_the_way_in_leads_nowhere_else(window, path):
    answer = window.ask(f"{path}?token={window.token}")
    assert answer.status == 303
    assert answer.headers["location"].startswith("./")
    assert not re.search(r"[/\\]", answer.headers["location"][2:])


@pytest.mark.parametrize("path", ["/", "/now", "/assets/shell.css", "/nowhere"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_carries_the_headers(window, path, known):
    answer = window.ask(path, **({"Cookie": window.cookie} if known else {}))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    scripts = policy.pop("script-src").split()
    assert scripts[:2] == ["'self'", "'unsafe-eval'"]
    assert all(one.startswith("'sha256-") for one in scripts[2:])
    assert bool(scripts[2:]) == (path == "/" and known), "only a page with scripts of the server's own allows them"
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert "server" not in answer.headers


def test_the_hashes_of_a_page_are_those_of_its_scripts(window):
    answer = window.ask("/", Cookie=window.cookie)
    allowed = re.findall(r"'(sha256-[^']+)'", answer.headers["content-security-policy"])
    inline = re.findall(rb"<script(?![^>]*src=)[^>]*>(.*?)</script>", answer.body, re.DOTALL)
    assert len(inline) > 2
    expected = {"sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline}
    assert set(allowed) == expected


def handshake(window, path: str = "/gradio_api/queue/data", **headers: str) -> int:
    key = base64.b64encode(os.urandom(16)).decode()
    sent = {"Host": window.host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    sent |= {"Sec-WebSocket-Key": key} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", window.port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return int(line.recv(4096).split()[1])


@pytest.mark.parametrize("path", ["/gradio_api/queue/data", "/events", "/queue/join", "/", "/runs/x/manifest"])
def test_a_websocket_passes_the_same_checks(window, path):
    known = {"Cookie": window.cookie}
    assert handshake(window, path) == 401
    assert handshake(window, path, Cookie=f"{window.cookie_name}=wrong") == 401
    assert handshake(window, path, **known, Host="evil.example") == 421
    assert handshake(window, path, **known, Origin="http://evil.example") == 403
    assert handshake(window, path, **known, Origin="null") == 403
    assert handshake(window, path, **known, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert handshake(window, path, **known, **{"Sec-Fetch-Site": "same-site"}) == 403
    assert handshake(window, path, **known, Origin=f"http://{window.host}") in {200, 404, 405, 422}  # a plain request


STREAMS = ("/events", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x")


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_of_events_passes_the_same_checks(window, path):
    known = {"Cookie": window.cookie, "Accept": "text/event-stream"}
    assert window.ask(path, Accept="text/event-stream").status == 401
    assert window.ask(path, **known, Origin="http://evil.example").status == 403
    assert window.ask(path, **known, Origin="null").status == 403
    assert window.ask(path, **known, Sec_Fetch_Site="cross-site").status == 403
    assert window.ask(path, **known, Sec_Fetch_Site="same-site").status == 403
    assert window.ask(path, **known, host="evil.example").status == 421


def multipart(name: str, data: bytes) -> tuple[bytes, str]:
    body = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return body + data + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/upload?upload_id=x", "/upload", "/do/open"])
def test_nothing_is_uploaded_by_anybody(window, path):
    marker = os.urandom(12).hex().encode()
    body, kind = multipart("../../evil.html", marker)
    strangers = (
        ({}, 401),
        ({"Cookie": window.cookie, "Origin": "http://evil.example"}, 403),
        ({"Cookie": window.cookie, "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Cookie": window.cookie, "host": "evil.example"}, 421),
    )
    for headers, status in strangers:
        assert window.ask(path, "POST", body=body, Content_Type=kind, **headers).status == status
    ours = window.ask(path, "POST", body=body, Content_Type=kind, Cookie=window.cookie)
    assert ours.status == (422 if path == "/do/open" else 404)  # the window does not upload files
    for file in window.state.rglob("*"):
        assert not file.is_file() or marker not in file.read_bytes()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {token}"},
        {"Authorization": "Basic {token}"},
        {"X_Token": "{token}"},
        {"Cookie": "token={token}"},
        {"Cookie": "tdw={token}"},
        {"Cookie": "{name}0={token}"},
        {"Cookie": "access-token={token}"},
        {"Cookie": "X{name}={token}"},
        {"Cookie": "{name}={token}x"},
        {"Cookie": "x={name}={token}"},
        {"Cookie": '{name}="{token}'},
        {"Referer": "http://127.0.0.1:{port}/?token={token}"},
    ],
)
def test_the_token_counts_nowhere_but_in_its_cookie(window, headers):
    for secret in (window.token, window.cookie.partition("=")[2]):
        fill = {"token": secret, "port": window.port, "name": window.cookie_name}
        sent = {name: value.format(**fill) for name, value in headers.items()}
        assert window.ask("/now", **sent).status == 401
        assert window.ask("/do/open", "POST", body=b'{"path": "x"}', **JSON, **sent).status == 401


def test_a_token_in_the_body_or_of_a_command_is_none(window):
    assert window.ask("/do/open", "POST", body=f"token={window.token}".encode()).status == 401
    answer = window.ask(f"/do/open?token={window.token}", "POST", body=b'{"path": "x"}', **JSON)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_the_cookie_alone_is_what_a_page_of_ours_sends(window):
    """A request without Origin is not from a script of another page, because browsers send it with those."""
    assert window.ask("/", Cookie=window.cookie).status == 200
    assert window.ask("/now", Cookie=window.cookie).status == 200


@pytest.mark.parametrize("beside", ['a={{"b": 1}}; ', "a:b=c; ", "=; ;; ", "{name}=planted; ", "é=1; "])
def test_cookies_of_other_ports_do_not_lock_the_owner_out(window, beside):
    """Browsers send the cookies of a host to all its ports, including those that other servers set."""
    other = beside.format(name=window.cookie_name).encode().decode("latin-1")
    assert window.ask("/now", Cookie=other + window.cookie).status == 200
    assert window.ask("/now", Cookie=f"{window.cookie}; {other.strip('; ')}").status == 200
    assert window.ask("/now", Cookie=other.strip("; ")).status == 401


@pytest.mark.parametrize("host", ["[::ffff:127.0.0.1]:{port}", "[::]:{port}", "0.0.0.0:{port}", "::1"])
def test_other_loopback_names_are_refused(window, host):
    host = host.format(port=window.port)
    assert window.ask("/now", host=host, Cookie=window.cookie).status == 421
    assert window.ask(f"/?token={window.token}", host=host).status == 421
    assert window.ask("/now", Cookie=window.cookie, Origin=f"http://{host}").status == 403


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.2"])
def test_only_one_loopback_is_listened_on(window, address):
    with (
        pytest.raises(OSError, match=r"refused|not available|supported"),
        socket.create_connection((address, window.port), timeout=5),
    ):
        pass


@pytest.mark.parametrize(
    "line", ["GET http://evil.example/now HTTP/1.1", "GET //evil.example/now HTTP/1.1", "GET /now HTTP/1.0"]
)
def test_an_absolute_address_in_the_request_does_not_bypass_the_guard(window, line):
    with socket.create_connection(("127.0.0.1", window.port)) as stream:
        stream.sendall(f"{line}\r\nCookie: {window.cookie}\r\nHost: evil.example\r\n\r\n".encode())
        assert stream.recv(4096).split()[1] == b"421"
    with socket.create_connection(("127.0.0.1", window.port)) as stream:
        stream.sendall(f"{line}\r\nHost: {window.host}\r\n\r\n".encode())
        assert stream.recv(4096).split()[1] == b"401"


@pytest.mark.parametrize(
    "line",
    ["OPTIONS * HTTP/1.1", "CONNECT evil.example:443 HTTP/1.1", "CONNECT /now HTTP/1.1", "GET now HTTP/1.1", "GET * HTTP/1.1",
     "OPTIONS *?token=x HTTP/1.1", "GET *?token={token} HTTP/1.1", "GET ?token={token} HTTP/1.1", "TRACE * HTTP/1.1"],
)  # fmt: skip
def test_malformed_request_targets_are_refused_with_a_message(window, line):
    line = line.format(token=window.token)
    for cookie, statuses in ((f"Cookie: {window.cookie}\r\n", {b"400"}), ("", {b"400", b"401"})):
        with socket.create_connection(("127.0.0.1", window.port)) as stream:
            stream.sendall(f"{line}\r\nHost: {window.host}\r\nConnection: close\r\n{cookie}\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
            assert answer.split()[1] in statuses
            assert b"This is not an address of this server." in answer or not cookie
            assert b"set-cookie" not in answer.lower()


# Headers with which proxies declare the origin of a request.
FORWARDED = {
    "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil", "X-Forwarded-Server": "evil.example", "X-Forwarded-Scheme": "https", "X-Forwarded": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=evil.example;proto=https", "Forwarded-For": "127.0.0.1", "Via": "1.1 evil.example",
    "X-Real-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1", "CF-Connecting-IP": "127.0.0.1", "X-Client-IP": "127.0.0.1",
    "X-Cluster-Client-IP": "127.0.0.1", "Fastly-Client-IP": "127.0.0.1", "X-Originating-IP": "127.0.0.1",
    "X-Remote-IP": "127.0.0.1", "X-Remote-Addr": "127.0.0.1", "X-Remote-User": "root", "Client-IP": "127.0.0.1",
    "X-Host": "evil.example", "X-HTTP-Host-Override": "evil.example", "X-Original-Host": "evil.example",
    "X-Original-URL": "/now", "X-Rewrite-URL": "/now", "X-Original-Method": "DELETE", "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE", "X-URL-Scheme": "https", "Front-End-Https": "on",
    "X-Script-Name": "/evil", "X-ProxyUser-Ip": "127.0.0.1", "Proxy": "http://evil.example", "X-Envoy-External-Address": "127.0.0.1",
    "X-Gradio-User": "evil", "X-Gradio-Server": "http://evil.example", "X-Direct-Url": "http://evil.example",
    "HF-Space": "evil", "Authorization": "Bearer evil", "Upgrade-Insecure-Requests": "1", "Base-Url": "http://evil.example",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/now", "/assets/early.js", "/nothing"])
def test_nothing_that_a_proxy_could_say_changes_an_answer(window, path):
    usual = window.ask(path, Cookie=window.cookie)
    for sent in [FORWARDED, *({name: value} for name, value in FORWARDED.items())]:
        answer = window.ask(path, Cookie=window.cookie, **sent)
        assert (answer.status, answer.headers.get("location")) == (usual.status, None), sent
        assert b"evil" not in answer.body, sent
        assert "evil" not in str(answer.headers), sent
    assert window.ask(path, **FORWARDED).status == 401
    assert window.ask("/do/stop", "POST", body=b'{"key": "x"}', **JSON, **FORWARDED, Cookie=window.cookie).status == 404


def test_the_application_is_handed_neither_cookie_nor_unknown_headers():
    handed = {}

    async def application(scope, receive, send):
        handed.update(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    class Everyone:
        def is_stranger(self, _client):
            return False

    tickets = Tickets(1, print)
    guarded = access.Guard(application, tickets=tickets, peers=Everyone(), welcomed=lambda: None)
    sent = {
        "Host": "127.0.0.1:1",
        "Cookie": f"{guarded.cookie}={tickets.cookie}",
        "Accept": "*/*",
        "Range": "bytes=0-1",
        **FORWARDED,
    }
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/now",
        "query_string": b"",
        "client": ("127.0.0.1", 2),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    answers = []

    async def send(message):
        answers.append(message)

    loops.run(guarded(scope, None, send))
    assert answers[0]["status"] == 204
    assert {name for name, _ in handed["headers"]} == {b"Host", b"Accept", b"Range"}

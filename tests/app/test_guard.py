"""The guard, asked by real requests to a running app."""

from __future__ import annotations

import base64
import os
import socket

import pytest

pytest.importorskip("gradio")

JSON = {"Content_Type": "application/json"}


def test_the_token_becomes_a_cookie_and_leaves_the_address(window):
    answer = window.ask(f"/?token={window.token}&view=new")
    assert answer.status == 303
    assert answer.headers["location"] == "/?view=new"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"tdw-{window.port}=")
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
    assert b"Open the address that <code>tdw</code> printed" in answer.body


@pytest.mark.parametrize("token", ["", "x", "ä", "%00", "%ff"])
def test_a_wrong_token_is_refused_even_beside_the_right_cookie(window, token):
    assert window.ask(f"/?token={token.encode('latin-1').decode('latin-1')}".replace("ä", "%C3%A4")).status == 401
    assert window.ask("/?token=wrong", Cookie=window.cookie).status == 401


@pytest.mark.parametrize(
    "cookie", ["tdw=x", "tdw-{port}=", "tdw-{port}=wrong", "other={token}", ";;=", "tdw-1={token}"]
)
def test_a_wrong_cookie_is_refused(window, cookie):
    assert window.ask("/", Cookie=cookie.format(port=window.port, token=window.token)).status == 401


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}"])
def test_its_own_names_are_answered(window, host):
    host = host.format(port=window.port)
    assert window.ask("/now", host=host, Cookie=window.cookie).status == 200
    assert window.ask("/now", host=host, Cookie=window.cookie, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", "[::1]:{port}", "127.0.0.1.evil.example:{port}",
     "LOCALHOST:{port}", "127.1:{port}", " "],
)  # fmt: skip
def test_any_other_host_is_refused(window, host):
    host = host.format(port=window.port)
    assert window.ask("/", host=host, Cookie=window.cookie).status == 421
    assert window.ask(f"/?token={window.token}", host=host).status == 421


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
    assert b'content="0;url=/"' in by_link.body  # Strict cookies do not travel along a redirect that another page began
    assert window.token.encode() not in by_link.body
    assert window.ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    assert window.ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors").status == 403


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%2F/evil.example"])
def test_the_way_in_leads_nowhere_else(window, path):
    answer = window.ask(f"{path}?token={window.token}")
    assert answer.status == 303
    assert answer.headers["location"].startswith("/")
    assert not answer.headers["location"].startswith(("//", "/\\"))


@pytest.mark.parametrize("path", ["/", "/now", "/assets/shell.js", "/nowhere"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_carries_the_headers(window, path, known):
    answer = window.ask(path, **({"Cookie": window.cookie} if known else {}))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "server" not in answer.headers


def handshake(window, **headers: str) -> int:
    key = base64.b64encode(os.urandom(16)).decode()
    sent = {"Host": window.host, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    sent |= {"Sec-WebSocket-Key": key} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", window.port)) as line:
        line.sendall(f"GET /gradio_api/queue/data HTTP/1.1\r\n{lines}\r\n".encode())
        return int(line.recv(4096).split()[1])


def test_a_websocket_passes_the_same_checks(window):
    known = {"Cookie": window.cookie}
    assert handshake(window) == 401
    assert handshake(window, **known, Host="evil.example") == 421
    assert handshake(window, **known, Origin="http://evil.example") == 403
    assert handshake(window, **known, Origin=f"http://{window.host}") != 101  # allowed in, and nothing listens there


def test_the_other_loopback_is_not_listened_on(window):
    with pytest.raises(ConnectionError), socket.create_connection(("::1", window.port), timeout=5):
        pass

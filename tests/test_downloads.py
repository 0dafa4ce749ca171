"""Why a download failed: what each obstacle is called, and what to do about it."""

import errno
import os
import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import HTTPError, URLError
from zipfile import BadZipFile

import pytest
from torchvision.datasets import FashionMNIST

from resnets import data, downloads


def untrusted():
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return URLError(error)


def refused(code, reason):
    return HTTPError("http://localhost", code, reason, {}, None)


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setattr(downloads, "getproxies", dict)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (untrusted(), "not trusted here, self-signed certificate: .* SSL_CERT_FILE"),
        (refused(403, "Forbidden"), "refused, 403 Forbidden, .* RESNETS_DATA"),
        (refused(407, "Proxy Authentication Required"), "refused, 407"),
        (refused(503, "Service Unavailable"), "answered 503 Service Unavailable: try again later"),
        (RuntimeError("File not found or corrupted."), "is not the published file"),
        (BadZipFile("File is not a zip file"), "is not the published file"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "name is not found"),
        (URLError(TimeoutError("timed out")), "did not answer in time"),
        (TimeoutError(), "did not answer in time"),
        (URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Refused")), "Refused"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_each_obstacle_has_its_words(error, says, tmp_path, no_proxy):
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(downloads.cause(error, tmp_path))


@pytest.mark.parametrize("page", ["<!DOCTYPE html><title>Log in</title>", "\n<HTML><body>"])
def test_a_web_page_in_place_of_the_file_is_told(page, tmp_path, no_proxy):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "train.gz").write_text(page)
    error = RuntimeError("File not found or corrupted.")
    assert "log in with a browser" in downloads.cause(error, tmp_path)


def test_a_proxy_is_named_without_its_password(tmp_path, monkeypatch):
    proxies = {"https": "http://me:secret@proxy:3128", "no": "localhost"}
    monkeypatch.setattr(downloads, "getproxies", lambda: proxies)
    error = URLError(OSError("Tunnel connection failed: 403 Forbidden"))
    said = downloads.cause(error, tmp_path)
    assert "proxy:3128 does not let it through, Tunnel connection failed: 403" in said
    assert "secret" not in said and "https_proxy" in said


@pytest.fixture
def answer(monkeypatch):
    """Let the only mirror that torchvision knows give one answer to everything."""

    def start(code, content):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{servers[-1].server_address[1]}/"
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])

    servers = []
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("RESNETS_DATA", raising=False)
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "content", "says"),
    [
        (403, b"no", "refused, 403 Forbidden"),
        (200, b"<html><body>Please log in.</body></html>", "log in with a browser"),
        (200, b"something else", "is not the published file"),
    ],
)
def test_the_stand_in_says_in_one_line_why_it_took_over(
    answer, monkeypatch, capsys, code, content, says
):
    answer(code, content)
    monkeypatch.setattr(data, "stand_in", lambda: "stand-in")
    assert data.fashion_mnist() == "stand-in"
    (line,) = capsys.readouterr().out.splitlines()
    assert says in line and line.endswith(f"Using the {data.STAND_IN}.")

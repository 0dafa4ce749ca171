"""Download into a temporary folder; why that failed, in words that say what to do."""

import errno
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import getproxies
from zipfile import BadZipFile

# How a download fails.
FAILED = (RuntimeError, URLError, HTTPException, TimeoutError, ConnectionError, BadZipFile)


class NoNetwork(Exception):
    """What should be downloaded cannot be."""


@contextmanager
def downloading(what: str, megabytes: int) -> Iterator[Path]:
    """A temporary folder in which torchvision downloads `what`.

    Raises:
        NoNetwork: the download failed; the message says why.
        OSError: the disk is full.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # torchvision sets none, and a silent network would hang it
    try:
        with unpacking_folder(what, megabytes) as folder:
            try:
                yield folder
            except FAILED as error:
                raise NoNetwork(cause(error, folder)) from error
    finally:
        socket.setdefaulttimeout(timeout)


@contextmanager
def unpacking_folder(what: str, megabytes: int) -> Iterator[Path]:
    """A temporary folder; a disk that is full says what to do.

    Raises:
        OSError: the disk is full.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"the disk is full: {what} needs {megabytes} MB in {tempfile.gettempdir()} and in "
                "the cache; free some space, or set TMPDIR to a folder on a larger disk",
            ) from error


def cause(error: BaseException, arrived: Path) -> str:
    """What was wrong, as the end of a sentence; `arrived` is the folder of what came."""
    if any(_is_web_page(path) for path in arrived.rglob("*") if path.is_file()):
        return (
            "a web page came instead, as from a network that asks for a log-in: log in with a "
            "browser, then run this again"
        )
    errors = list(_chain(error))
    for error in errors:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"the server's certificate is not trusted here, {error.verify_message}: if a proxy "
                "put in its own, name the file of that certificate in SSL_CERT_FILE; if this is "
                "Python for macOS, run its `Install Certificates.command`"
            )
        if isinstance(error, HTTPError) and error.code in (401, 403, 407, 451):
            return (
                f"it was refused, {error.code} {error.reason}, by the server or by a proxy: "
                "download it elsewhere, and name its folder in RESNETS_DATA"
            )
        if isinstance(error, HTTPError):
            return f"the server answered {error.code} {error.reason}: try again later"
        if isinstance(error, BadZipFile) or "corrupted" in str(error):
            return "what came is not the published file: try again, or on another network"
    if proxies := {getproxies().get(scheme) for scheme in ("http", "https")} - {None}:
        names = sorted(urlsplit(proxy).netloc.rpartition("@")[2] or proxy for proxy in proxies)
        return (
            f"the proxy {' or '.join(names)} does not let it through, {_words(errors)}: correct "
            "http_proxy and https_proxy, or this system's settings"
        )
    for error in errors:
        if isinstance(error, socket.gaierror):
            return "the server's name is not found: is there a network?"
        if isinstance(error, TimeoutError):
            return "the server did not answer in time: is there a network?"
    return _words(errors)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while isinstance(error, BaseException):
        yield error
        error = error.reason if type(error) is URLError else error.__cause__


def _words(errors: list[BaseException]) -> str:
    return str(errors[-1]) or type(errors[-1]).__name__


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(200).lstrip().lower().startswith((b"<!doctype html", b"<html"))

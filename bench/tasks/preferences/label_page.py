"""Show pairs to compare on a page of this machine: http.server, one page, no other request.

The address holds a random token, and only 127.0.0.1 is listened to: other users of the machine, and
other pages of the browser, cannot read or answer. Imports no torch.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import jinja2

logger = logging.getLogger(__name__)
Ask = Callable[[str, str, str], str]
WAIT_SECONDS = 60.0  # of a request for the next pair, which may have to be chosen first
ANSWERS = {"1": "the first", "2": "the second", "=": "a tie", "s": "skip", "q": "stop"}
PAGE = jinja2.Environment(autoescape=True).from_string(
    Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
)


class ShownPair(NamedTuple):
    """What the page shows."""

    number: int  # from 1: an answer to an earlier pair does not count
    prompt: str
    first: str
    second: str


class LabelPage:
    """A page on which a person answers; `ask` waits for the answer to one pair."""

    def __init__(self) -> None:
        self.path = f"/{secrets.token_urlsafe(16)}/"
        self.pair: ShownPair | None = None
        self.shown = 0
        self.ready = threading.Event()  # the page has a pair that is not answered, or is at its end
        self.lock = threading.Lock()
        self.answers: queue.Queue[str] = queue.Queue()
        handler = type("PageHandler", (Handler,), {"page": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.server.server_port}{self.path}"

    def ask(self, prompt: str, first: str, second: str) -> str:
        """Show a pair, and return one of the answers."""
        self.shown += 1
        self.pair = ShownPair(self.shown, prompt, first, second)
        self.ready.set()
        return self.answers.get()

    def answer(self, number: str, answer: str) -> None:
        """Take the answer to the pair that is shown; ignore others."""
        with self.lock:
            pair = self.pair
            if self.ready.is_set() and pair and number == str(pair.number) and answer in ANSWERS:
                self.ready.clear()
                self.answers.put(answer)


@contextmanager
def serve() -> Iterator[Ask]:
    """Serve a page, log its address, and give the function that asks by it."""
    page = LabelPage()
    logger.info(f"open {page.address} in a browser of this machine; Ctrl-C stops")
    try:
        yield page.ask
        page.pair = None
        if page.ready.is_set() or page.shown == 0:
            return
        page.ready.set()
        time.sleep(0.5)  # the browser follows its last answer
    finally:
        page.server.shutdown()
        page.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answer the requests of one page, at its own address alone."""

    page: LabelPage
    timeout = 10.0  # seconds: browsers open connections that they may not use

    def do_GET(self) -> None:
        """Show the pair, once there is one."""
        if not self._is_ours():
            return
        self.page.ready.wait(WAIT_SECONDS)
        nonce = secrets.token_urlsafe(8)
        html = PAGE.render(pair=self.page.pair, answers=ANSWERS, nonce=nonce).encode()
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "form-action 'self'; frame-ancestors 'none'"
        )
        self._reply(HTTPStatus.OK, html, {
            "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer", "Content-Security-Policy": policy,
        })  # fmt: skip

    def do_POST(self) -> None:
        """Take an answer, and show the page again."""
        if not self._is_ours():
            return
        length = min(int(self.headers.get("Content-Length") or 0), 1000)
        form = parse_qs(self.rfile.read(length).decode("ascii", "replace"))
        self.page.answer(form.get("number", [""])[0], form.get("answer", [""])[0])
        self._reply(HTTPStatus.SEE_OTHER, b"", {"Location": self.page.path})

    def _is_ours(self) -> bool:
        ours = secrets.compare_digest(self.path.encode(), self.page.path.encode())
        if not ours:
            self.send_error(HTTPStatus.NOT_FOUND)
        return ours

    def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal belongs to the command."""

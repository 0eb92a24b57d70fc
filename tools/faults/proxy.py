"""A proxy in front of the object store that turns against its client at chosen uploads."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers import free_port

UPSTREAM_SECONDS = 120
# The hop's own affair; everything else, `Host` above all, is part of what the client has signed.
HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


class Fault:
    """A proxy that is well: base of those that are not."""

    def before(self, request: "Handler") -> bool:
        """Whether the request may pass."""
        return True

    def after(self, request: "Handler") -> bool:
        """Whether the client may hear the answer."""
        return True

    def begin(self, proxy: "Proxy") -> None:
        pass

    def end(self, proxy: "Proxy") -> None:
        pass


class Refusing(Fault):
    """Nobody listens, and open connections are cut."""

    def begin(self, proxy: "Proxy") -> None:
        threading.Thread(target=proxy.close).start()

    def before(self, request: "Handler") -> bool:
        request.cut()
        return False

    def end(self, proxy: "Proxy") -> None:
        proxy.listen()


class Hanging(Fault):
    """The store stands still with the request in hand. Its process is what the cell freezes."""

    def __init__(self, freeze, thaw) -> None:
        self.freeze, self.thaw = freeze, thaw

    def begin(self, proxy: "Proxy") -> None:
        self.freeze()

    def end(self, proxy: "Proxy") -> None:
        self.thaw()


class Answering(Fault):
    """Every request gets an error, 500 and 503 by turns."""

    def __init__(self) -> None:
        self.count = 0

    def before(self, request: "Handler") -> bool:
        self.count += 1
        request.answer(500 if self.count % 2 else 503, "fault", {}, b"")
        return False


class Dropping(Fault):
    """Uploads are accepted, but the client hears nothing of it."""

    def __init__(self, uploads: int) -> None:
        self.left, self.done = uploads, threading.Event()
        self.turn = threading.Lock()

    def after(self, request: "Handler") -> bool:
        with self.turn:
            if request.command != "PUT" or self.left == 0:
                return True
            self.left -= 1
        request.cut()
        if self.left == 0:
            self.done.set()
        return False


class Handler(BaseHTTPRequestHandler):
    """Passes one request on."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        proxy: Proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.meet(self.command)
        if not fault.before(self):
            return
        status, reason, headers, answer = self.upstream(proxy.upstream, body)
        if fault.after(self):
            self.answer(status, reason, headers, answer)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    def upstream(self, address: str, body: bytes) -> tuple[int, str, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(address, timeout=UPSTREAM_SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            headers = {name: value for name, value in reply.getheaders() if name.lower() not in HOP}
            return reply.status, reply.reason, headers, reply.read()
        finally:
            connection.close()

    def answer(self, status: int, reason: str, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status, reason)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        self.close_connection = True

    def log_message(self, *_) -> None:
        pass


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_) -> None:
        """A client that went away, or a store that did: the client will notice."""


class Proxy:
    """Listens on loopback, and is well until it is told to turn against its client."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.port = upstream, free_port()
        self.fault, self.left = Fault(), 0
        self.turn, self.begun = threading.Lock(), threading.Event()
        self.begun.set()
        self.listen()

    def listen(self) -> None:
        self.listener = Listener(("127.0.0.1", self.port), Handler)
        self.listener.proxy = self
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown()
        self.listener.server_close()

    def arm(self, fault: Fault, uploads: int) -> None:
        """The fault begins with the upload after so many more, and lasts until it is healed."""
        with self.turn:
            self.fault, self.left = fault, uploads
            self.begun.clear()

    def meet(self, command: str) -> Fault:
        """The fault that a request meets; the upload that begins it is the first to."""
        with self.turn:
            if self.begun.is_set():
                return self.fault
            if command != "PUT" or self.left:
                self.left -= command == "PUT"
                return Fault()
            self.fault.begin(self)
            self.begun.set()
            return self.fault

    def heal(self) -> float:
        """Ends the fault, whether it has begun or not, and says when."""
        with self.turn:
            if self.begun.is_set():
                self.fault.end(self)
            self.fault = Fault()
            self.begun.set()
            return time.monotonic()

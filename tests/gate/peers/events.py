"""A source of server-sent events, made with nothing but Python's own library.

`POST /tell` sends the next event to every stream. Says `port N` when it listens, `stream` for each
stream that begins, and `gone` when its reader has left.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!doctype html><title>Events</title><h1>A page</h1><ul id=list></ul><script>
const source = new EventSource("events");
source.onmessage = (event) => {
  list.insertAdjacentHTML("beforeend", `<li>${event.lastEventId}: ${event.data}</li>`);
};
</script>"""

lock = threading.Lock()
streams = []
told = 0


class Source(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.endswith("/events"):
            return self.stream()
        self.answer(PAGE)

    def do_POST(self):
        global told
        with lock:
            told += 1
            for stream in streams:
                try:
                    stream.write(b"id: %d\ndata: event %d\n\n" % (told, told))
                    stream.flush()
                except (OSError, ValueError):
                    pass
        self.answer(b"")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with lock:
            streams.append(self.wfile)
        print("stream", flush=True)
        # Until the other side has closed.
        while self.rfile.read(1):
            pass
        print("gone", flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
print("port", server.server_address[1], flush=True)
server.serve_forever()

"""A reverse proxy that writes down every request it passes on: `recorder.py UPSTREAM_HOST:PORT RECORDING`.

Prints one line, `{"url": "http://127.0.0.1:PORT"}`, once it accepts. The recording has a JSON object a line:
method, path, headers as [name, value] and the body as text. Answers are passed on piece by piece, so that streams
stream.
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = ""
    recording = None
    lock = threading.Lock()

    def pass_on(self):
        body = self.read_body()
        self.record(body)
        connection = http.client.HTTPConnection(self.upstream)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            self.answer(connection.getresponse())
        finally:
            connection.close()

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_HEAD = pass_on

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def record(self, body):
        entry = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": body.decode(errors="replace"),
        }
        with self.lock:
            self.recording.write(json.dumps(entry) + "\n")
            self.recording.flush()

    def answer(self, response):
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if response.status in (204, 304) or self.command == "HEAD":
            self.end_headers()
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := response.read1(65536):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


def main():
    Recorder.upstream = sys.argv[1]
    Recorder.recording = open(sys.argv[2], "w", encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.daemon_threads = True
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

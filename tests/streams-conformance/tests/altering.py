"""A proxy that stands before a good server and makes it a bad one: it alters answers of DynamoDB Streams."""

import copy
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy:
    """Forwards everything; `alter(operation, status, body)` may change a Streams answer, `before` a request.

    `altered` counts how often an answer or a request was in fact changed.
    """

    def __init__(self, endpoint, alter=None, before=None):
        proxy, there = self, urlsplit(endpoint)
        self.altered = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One packet per answer: else each waits for the client's delayed acknowledgement.
            wbufsize, disable_nagle_algorithm = 1 << 16, True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                target = self.headers.get("X-Amz-Target", "")
                operation = target.rpartition(".")[2] if target.startswith("DynamoDBStreams") else None
                if operation and before:
                    body = proxy.change(before, operation, None, body)[1]
                onward = http.client.HTTPConnection(there.hostname, there.port, timeout=30)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")}
                onward.request("POST", "/", body, headers)
                answer = onward.getresponse()
                status, body = answer.status, answer.read()
                onward.close()
                if operation and alter:
                    status, body = proxy.change(alter, operation, status, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def change(self, how, operation, status, body):
        before = json.loads(body or b"{}")
        after = copy.deepcopy(before)
        changed = how(operation, status, after)
        new_status = changed if isinstance(changed, int) else status
        if after == before and new_status == status:
            return status, body
        self.altered += 1
        return new_status, json.dumps(after).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

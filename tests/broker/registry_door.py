"""The registry behind TLS and a password, as a server in front of it has them."""

from __future__ import annotations

import base64
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.certificates import Authority


class Door:
    """An HTTPS server that passes on to a registry what comes with the right password."""

    def __init__(self, url: str, folder: Path, user: str, password: str) -> None:
        authority = Authority(folder / "certificates")
        key, chain = authority.server()
        pem = folder / "door.pem"
        pem.write_text(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(url, f"{user}:{password}"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._password_file = folder / "password"
        self._password_file.write_text(f"{password}\n")
        self._user, self._ca = user, authority.truststore()

    def environment(self) -> dict[str, str]:
        return {
            "KMS_SCHEMA_REGISTRY_URL": f"https://127.0.0.1:{self._server.server_port}",
            "KMS_SCHEMA_REGISTRY_USER": self._user,
            "KMS_SCHEMA_REGISTRY_PASSWORD_FILE": str(self._password_file),
            "KMS_SCHEMA_REGISTRY_CA": str(self._ca),
        }

    def __enter__(self) -> Door:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(url: str, credentials: str) -> type[BaseHTTPRequestHandler]:
    wanted = "Basic " + base64.b64encode(credentials.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

        def _pass_on(self, body: bytes | None) -> None:
            if self.headers["Authorization"] != wanted:
                return self._answer(401, b'{"error_code": 401, "message": "Unauthorized"}')
            request = urllib.request.Request(url + self.path, body)
            if body is not None:
                request.add_header("Content-Type", self.headers["Content-Type"])
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return self._answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                return self._answer(error.code, error.read())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler

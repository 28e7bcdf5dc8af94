"""An S3 server on this machine that checks credentials, and a door in front of it that a test can close."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import zarr

__all__ = ["BUCKET", "Door", "Server", "copy_store", "serve"]

BUCKET = "bucket"


class Door:
    """Forwards TCP connections to a port while it is open; a closed one ends them, and refuses new ones."""

    def __init__(self, behind: int) -> None:
        self._behind, self._listener = behind, None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._kept = socket.socket()  # bound, never listening: nobody else gets the port while the door is closed
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = self._kept.getsockname()[1]
        self.turn_away = 0
        """Connections that are ended as soon as they come."""
        self.lose_answers = 0
        """Answers to PUT requests that end their connection instead of coming back; the server has done what it was
        asked to."""
        self.open()

    def open(self) -> None:
        """Let connections through."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in [one for pair in list(self._pairs) for one in pair]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                if self.turn_away:
                    self.turn_away -= 1
                    near.close()
                    continue
                pair = (near, socket.create_connection(("127.0.0.1", self._behind)))
                self._pairs.add(pair)
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        """Forward a connection both ways until it ends."""
        is_put = threading.Event()
        answers = threading.Thread(target=self._pump, args=(far, near, is_put, True), daemon=True)
        answers.start()
        self._pump(near, far, is_put, False)
        answers.join()
        self._pairs.discard((near, far))
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, is_put: threading.Event, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if data.startswith(b"PUT "):
                    is_put.set()
                elif data.startswith((b"GET ", b"HEAD ", b"DELETE ")):
                    is_put.clear()
                if answers and is_put.is_set() and self.lose_answers:
                    self.lose_answers -= 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Server:
    """A running server with one bucket."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self.door = Door(port)
        self.environment = {**environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.door.port}"}
        """What a command needs to reach it."""
        self.client = _client("s3", port, environment)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix, without it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {k.removeprefix(prefix): self.client.get_object(Bucket=BUCKET, Key=k)["Body"].read() for k in keys}


def copy_store(server: Server, name: str, folder: Path) -> Path:
    """A store in the bucket, copied object by object into a folder, for any reader of folders."""
    for key, data in server.objects(f"{name}/").items():
        path = folder / name / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    zarr.open_group(folder / name, mode="r")
    return folder / name


def _client(service: str, port: int, environment: dict[str, str]) -> "boto3.client":
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A server with one bucket and one user, whose credentials alone it lets in."""
    line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    # The first three calls make the user; from then on its signature is asked of every one.
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            port = _port_of(process, Path(log.name))
            nobody = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
            users = _client("iam", port, nobody)
            users.create_user(UserName="writer")
            policy = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}'
            users.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=policy)
            key = users.create_access_key(UserName="writer")["AccessKey"]
            given = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
            server = Server(port, {**given, "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "4"})
            server.client.create_bucket(Bucket=BUCKET)
            yield server
        finally:
            process.kill()


def _port_of(server: "subprocess.Popen[bytes]", log: Path) -> int:
    """The port that a server has found for itself; it says so once it listens."""
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        if found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        time.sleep(0.1)
    raise AssertionError(f"the S3 server did not start: {log.read_text()}")

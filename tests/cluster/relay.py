"""`python relay.py A B SECONDS`: carry every packet from one network device to the other, that many seconds later.

This kernel has no netem. Packets are handed on with their virtio header, as devices leave checksums and cutting into
frames to hardware.

Source: packet(7).
"""

import heapq
import itertools
import select
import socket
import sys
import time

__all__ = ["relay"]

_ALL_PROTOCOLS, _SOL_PACKET, _VNET_HEADER = 3, 263, 15
_MOST_BYTES = 1 << 17
_RECEIVE_BUFFER_FORCE = 33
"""Source: asm-generic/socket.h; Python has no name for it."""


def _opened(device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    opened.setsockopt(_SOL_PACKET, _VNET_HEADER, 1)
    opened.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 64 << 20)
    opened.bind((device, 0))
    return opened


def relay(one: str, other: str, delay_s: float) -> None:
    """Carry packets between two devices, for ever; a line says that it has begun."""
    ends = [_opened(one), _opened(other)]
    print("carrying packets", flush=True)
    peer = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way: list[tuple[float, int, socket.socket, bytes]] = []
    numbers = itertools.count()
    while True:
        pause_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for end in select.select(ends, [], [], pause_s)[0]:
            data, address = end.recvfrom(_MOST_BYTES)
            if address[2] != socket.PACKET_OUTGOING:
                heapq.heappush(under_way, (time.monotonic() + delay_s, next(numbers), peer[end], data))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, data = heapq.heappop(under_way)
            end.send(data)


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]))

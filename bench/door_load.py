"""The load of `bench.doors`: `python -m bench.door_load PORT CONNECTIONS SECONDS SEED < requests`.

Each connection sends the next request as soon as the last was answered. Prints what it saw as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

END = b"\r\n\r\n"


class Asking(asyncio.Protocol):
    """One connection that is kept alive. Answers are taken apart no further than needed."""

    def __init__(self, requests: list[bytes], rng: random.Random, until: float, took: list[float]) -> None:
        self.requests, self.rng, self.until, self.took = requests, rng, until, took
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got = b""
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        self.got, self.began = b"", time.perf_counter()
        self.transport.write(self.rng.choice(self.requests))

    def data_received(self, data: bytes) -> None:
        """An answer, or a part of one."""
        self.got += data
        head, end, body = self.got.partition(END)
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0]):
            return
        now = time.perf_counter()
        self.took.append(now - self.began)
        self.bad += not head.startswith(b"HTTP/1.1 200")
        if now < self.until:
            self._ask()
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """It is over."""
        if not self.done.done():
            self.done.set_result(None)


async def load(requests: list[bytes], port: int, connections: int, seconds: float, seed: int) -> dict[str, float]:
    """Ask for so long; how many answers a second, and how long they took in milliseconds."""
    rng, took = random.Random(seed), list[float]()
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: Asking(requests, rng, began + seconds, took), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(one.done for one in made))
    lasted = time.perf_counter() - began
    took.sort()
    return {
        "answers": len(took), "bad": sum(one.bad for one in made), "rate": len(took) / lasted,
        "p50": took[len(took) // 2] * 1000, "p99": took[len(took) * 99 // 100] * 1000,
    }  # fmt: skip


def main() -> None:
    """From the command line."""
    port, connections, seconds, seed = (float(one) for one in sys.argv[1:])
    requests = [one + END for one in sys.stdin.buffer.read().split(END) if one]
    print(json.dumps(asyncio.run(load(requests, int(port), int(connections), seconds, int(seed)))))


if __name__ == "__main__":
    main()

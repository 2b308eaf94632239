"""What runs in the demo's containers: programs a person could start by hand, and none that knows it will be moved."""

from __future__ import annotations

from dataclasses import dataclass

REDIS_PORT = 6379
HTTP_PORT = 8080
COUNTER_PORT = 7000
FILE_PATH = "/srv/file"

# Counts the lines it gets, holds ARGV[1] MiB that it can prove unchanged ("digest"), and echoes datagrams, which
# TCP's timers do not round up.
COUNTER_PROGRAM = """
import hashlib, os, socket, socketserver, sys, threading, time

ballast = bytearray(int(sys.argv[1]) << 20)
for at in range(0, len(ballast), 1 << 20):
    ballast[at : at + (1 << 20)] = os.urandom(1 << 20)
port = int(sys.argv[2])
pages_a_tick = int(sys.argv[3]) // 100
count = 0

class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    def handle(self):
        global count
        for line in self.rfile:
            if line == b"digest\\n":
                answer = hashlib.sha256(ballast).hexdigest()
            else:
                count += 1
                answer = str(count)
            self.wfile.write(answer.encode() + b"\\n")

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

def echo():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    while True:
        udp.sendto(*udp.recvfrom(1500))

def write():
    page = 0
    while True:
        for _ in range(pages_a_tick):
            page = (page + 1) % (len(ballast) >> 12)
            ballast[page << 12] ^= 1
        time.sleep(0.01)

threading.Thread(target=echo, daemon=True).start()
if pages_a_tick:
    threading.Thread(target=write, daemon=True).start()
Server(("", port), Handler).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class Service:
    """One container of the demo: its name, what it is to a person, and what `ct create` is told."""

    name: str
    kind: str
    port: int
    command: tuple[str, ...]
    memory: str = "128M"
    user: str | None = None


def redis(name: str) -> Service:
    """Redis as its own user, with every write in its append-only file; open to the network, which is the lab's own."""
    options = ("--appendonly", "yes", "--dir", "/var/lib/redis", "--protected-mode", "no")
    return Service(name, "Redis, as user redis", REDIS_PORT, ("redis-server", *options), user="redis")


def files(name: str, size_mib: int) -> Service:
    """Python's own HTTP server with one large file of random bytes."""
    make = f"head -c {size_mib}M /dev/urandom > {FILE_PATH}"
    serve = f"exec python3 -m http.server --protocol HTTP/1.1 --directory /srv {HTTP_PORT}"
    return Service(name, "HTTP, sending a large file", HTTP_PORT, ("sh", "-c", f"{make} && {serve}"))


def counter(name: str, ballast_mib: int, writes_pages_per_s: int = 0) -> Service:
    """A counter with random memory behind it, which it may write to all the time."""
    command = ("python3", "-c", COUNTER_PROGRAM, str(ballast_mib), str(COUNTER_PORT), str(writes_pages_per_s))
    return Service(name, f"counter with {ballast_mib} MiB", COUNTER_PORT, command, memory=f"{ballast_mib + 128}M")


def roster(file_mib: int = 64, ballast_mib: int = 192) -> tuple[Service, ...]:
    """The demo's containers in the order they are made."""
    return (redis("redis"), files("files", file_mib), counter("ballast", ballast_mib), counter("counter", 1))

"""Programs for containers, as their text: each answers over the network, on port 7000."""

from __future__ import annotations

# A store in a file that several processes share by mappings: "put N" is answered when it is committed. Each connection
# has a process of its own, and so do readers that begin later.
STORE = """
import os, socketserver, sys
kind = sys.argv[1]
if kind == "sqlite":
    import sqlite3
    def opened():
        store = sqlite3.connect("/srv/store.db", timeout=30, isolation_level=None)
        assert store.execute("pragma journal_mode=wal").fetchone() == ("wal",)
        store.execute("pragma synchronous=normal")
        store.execute("create table if not exists t (who integer, number integer, primary key (who, number))")
        return store
    def put(store, who, number):
        store.execute("insert into t values (?, ?)", (who, number))
else:
    import lmdb
    def opened():
        os.makedirs("/srv/store", exist_ok=True)
        return lmdb.open("/srv/store", map_size=64 << 20, writemap=True, map_async=True)
    def put(store, who, number):
        with store.begin(write=True) as change:
            change.put(b"%d %d" % (who, number), b"x" * 100)
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        store = opened()
        for line in self.rfile:
            put(store, *map(int, line.split()))
            self.wfile.write(line)
class Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
if kind == "sqlite":
    opened().close()
Server(("", 7000), Handler).serve_forever()
"""
# All that is committed, as another process finds it.
STORED = {
    "sqlite": """
import sqlite3
store = sqlite3.connect("/srv/store.db", timeout=30)
assert store.execute("pragma integrity_check").fetchone() == ("ok",)
print(*("%d %d" % row for row in store.execute("select who, number from t")), sep=chr(10))
""",
    "lmdb": """
import lmdb
with lmdb.open("/srv/store", map_size=64 << 20, writemap=True).begin() as look:
    print(*(key.decode() for key, _ in look.cursor()), sep=chr(10))
""",
}

# One process with all that the kernel gives a program to wait for. Each word that it is asked takes one of them once
# round, and is answered when it came back.
MANY = """
import ctypes, os, select, signal, socket, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
poll = select.epoll()
came = {}
lock = threading.Condition()
def tell(what):
    with lock:
        came[what] = came.get(what, 0) + 1
        lock.notify_all()
def watch(fd, what, size):
    def read():
        os.read(fd, size)
        tell(what)
    readers[fd] = read
    poll.register(fd, select.EPOLLIN)
readers = {}
pipe = os.pipe()
watch(pipe[0], "pipe", 1)
event = os.eventfd(0)
watch(event, "eventfd", 8)
watch(libc.signalfd(-1, struct.pack("Q", 1 << signal.SIGUSR1 - 1), 0), "signalfd", 128)
clock = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
watch(clock, "timerfd", 8)
os.makedirs("/srv/watched", exist_ok=True)
notify = libc.inotify_init1(0)
assert libc.inotify_add_watch(notify, b"/srv/watched", 0x100) > 0
watch(notify, "inotify", 4096)
ours, theirs = socket.socketpair()
if not os.fork():
    ours.close()
    while word := theirs.recv(100):
        theirs.send(word)
    os._exit(0)
theirs.close()
watch(ours.fileno(), "unix", 100)
signal.signal(signal.SIGALRM, lambda *_: tell("alarm"))
ticks = 0
def tick():
    global ticks
    while True:
        time.sleep(0.01)
        ticks += 1
        tell("thread")
def wait():
    while True:
        for fd, _ in poll.poll():
            readers[fd]()
for work in (tick, wait):
    threading.Thread(target=work, daemon=True).start()
made = 0
def act(what):
    global made
    if what == "pipe":
        os.write(pipe[1], b"x")
    elif what == "eventfd":
        os.eventfd_write(event, 1)
    elif what == "signalfd":
        os.kill(os.getpid(), signal.SIGUSR1)
    elif what == "timerfd":
        libc.timerfd_settime(clock, 0, struct.pack("qqqq", 0, 0, 0, 10_000_000), None)
    elif what == "inotify":
        made += 1
        open("/srv/watched/%d" % made, "w").close()
    elif what == "unix":
        ours.send(b"x")
    elif what == "alarm":
        signal.setitimer(signal.ITIMER_REAL, 0.01)
def once(what):
    with lock:
        before = came.get(what, 0)
    act(what)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with lock:
            if came.get(what, 0) > before:
                return True
        time.sleep(0.001) # here, in the main thread, the alarm's handler runs
    return False
listener = socket.create_server(("", 7000))
peer, _ = listener.accept()
lines = peer.makefile("rw")
for line in lines:
    lines.write(line if once(line.strip()) else "LOST " + line)
    lines.flush()
"""
WORDS = ("pipe", "eventfd", "signalfd", "timerfd", "inotify", "unix", "alarm", "thread")

# Fifty processes: seven below the first, six below each of these, in sessions and groups of several kinds. Each counts
# how often it was asked and tells who it is and what it holds; the first asks them all, through its children.
TREE = """
import hashlib, os, socket, sys
def grown(children):
    ends = []
    for below in children:
        ask, asked = os.pipe()
        tell, told = os.pipe()
        if not os.fork():
            for one, other in ends:
                os.close(one)
                os.close(other)
            os.close(asked)
            os.close(tell)
            if len(ends) % 2:
                os.setsid()
            elif len(ends) % 3 == 0:
                os.setpgid(0, 0)
            serve(ask, told, grown(below))
        os.close(ask)
        os.close(told)
        ends.append((asked, tell))
    return ends
def told_by(ends):
    text = b""
    for asked, _ in ends:
        os.write(asked, b"?")
    for _, tell in ends:
        size = int(os.read(tell, 8))
        while size:
            part = os.read(tell, size)
            text += part
            size -= len(part)
    return text
def serve(ask, told, ends):
    held, count = os.urandom(100_000), 0
    while os.read(ask, 1):
        count += 1
        digest = hashlib.sha256(held).hexdigest()[:16]
        own = "%d %d %d %d %s %d\\n" % (os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), digest, count)
        text = own.encode() + told_by(ends)
        os.write(told, b"%8d" % len(text) + text)
    os._exit(0)
ends = grown([[[]] * 6] * 7)
listener = socket.create_server(("", 7000))
while True:
    peer, _ = listener.accept()
    with peer, peer.makefile("rb") as lines:
        for _ in lines:
            text = told_by(ends)
            peer.sendall(b"%d\\n" % len(text) + text)
"""

# Echoes datagrams, each with how many came before.
ECHO = """
import socket
echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
echo.bind(("", 7000))
count = 0
while True:
    text, peer = echo.recvfrom(1500)
    count += 1
    echo.sendto(b"%d %s" % (count, text), peer)
"""

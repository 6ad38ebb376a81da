#!/usr/bin/env python3
"""Pub/sub beside redis-server.

    benches/pubsub.py [ROUNDS] [PART ...]           (needs a release build)

Parts: `fan` (CPU of the server per delivered message, one publisher to 1, 50 and 500
subscribers, a message at a time and 16 in a pipeline; two shards beside one), `memory`
(bytes per channel of a hundred thousand that one client listens to, and that a hundred
clients do), `patterns` (CPU per PUBLISH with a thousand patterns, one of which matches),
`crowd` (the slowest PINGs of another client while messages go to 10,000 subscribers).
CPU is user+system time of the process. Servers are measured in turn.
"""
import atexit
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time

PARTS = ("fan", "memory", "patterns", "crowd")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
WANTED = sys.argv[2:] or PARTS
TEXT = b"m" * 32
CORDIS = "target/release/cordis-server"
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def encode(*args):
    args = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


class Server:
    def __init__(self, name, command):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.name = name
        command = command + ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                             "--maxclients", "20000"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        for _ in range(200):
            try:
                self.connect().close()
                break
            except OSError:
                time.sleep(0.05)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def cpu_us(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")

    def rss(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self):
        self.process.kill()
        self.process.wait()


def servers():
    return [Server("redis-server", ["redis-server"]),
            Server("1 shard", [CORDIS, "--shards", "1"]),
            Server("2 shards", [CORDIS, "--shards", "2"])]


def read_exactly(connection, count):
    while count > 0:
        data = connection.recv(min(count, 1 << 20))
        if not data:
            raise SystemExit("the server has closed")
        count -= len(data)


def subscribe(connection, word, *names):
    connection.sendall(encode(word, *names))
    left = len(names)
    while left > 0:
        left -= connection.recv(1 << 20).count(b":")


def fan(server, subscribers, pipeline, messages):
    """CPU per delivered message in us."""
    listeners = [server.connect() for _ in range(subscribers)]
    for listener in listeners:
        subscribe(listener, "SUBSCRIBE", "news")
    publisher = server.connect()
    request = encode("PUBLISH", "news", TEXT) * pipeline
    size = len(encode("message", "news", TEXT)) * pipeline
    answer = len(b":%d\r\n" % subscribers) * pipeline
    poll = select.epoll()
    missing = {}
    for listener in listeners:
        poll.register(listener.fileno(), select.EPOLLIN)
    by_number = {listener.fileno(): listener for listener in listeners}
    before = server.cpu_us()
    for _ in range(messages // pipeline):
        publisher.sendall(request)
        missing = dict.fromkeys(by_number, size)
        read_exactly(publisher, answer)
        while missing:
            for number, _ in poll.poll():
                missing[number] -= len(by_number[number].recv(1 << 16))
                if missing[number] == 0:
                    del missing[number]
    spent = server.cpu_us() - before
    for connection in listeners + [publisher]:
        connection.close()
    return spent / (messages // pipeline * pipeline * subscribers)


def part_fan():
    for subscribers, pipeline, messages in ((1, 1, 10_000), (1, 16, 160_000), (50, 1, 2_000),
                                            (50, 16, 16_000), (500, 1, 400), (500, 16, 1_600)):
        all_servers = servers()
        figures = {server.name: [] for server in all_servers}
        for _ in range(ROUNDS):
            for server in all_servers:
                figures[server.name].append(fan(server, subscribers, pipeline, messages))
        medians = {name: statistics.median(values) for name, values in figures.items()}
        redis, one, two = medians.values()
        print(f"fan to {subscribers:3}, pipeline {pipeline:2}: "
              + ", ".join(f"{name} {value:.2f}" for name, value in medians.items())
              + f" us a message; {one / redis:.2f} of redis-server, two shards {two / one:.2f} of one",
              flush=True)
        for server in all_servers:
            server.end()


def part_memory():
    count = 100_000
    for clients in (1, 100):
        for server in servers():
            connections = [server.connect() for _ in range(clients)]
            for connection in connections:
                subscribe(connection, "SUBSCRIBE", "warm")
            time.sleep(1.2)
            before = server.rss()
            for index, connection in enumerate(connections):
                names = range(index, count, clients)
                subscribe(connection, "SUBSCRIBE", *(b"channel:%08d" % name for name in names))
            time.sleep(6)
            print(f"{count} channels, {clients:3} clients: {server.name} "
                  f"{(server.rss() - before) / count:.1f} bytes each", flush=True)
            server.end()


def part_patterns():
    figures = {}
    for _ in range(ROUNDS):
        for server in servers():
            listener = server.connect()
            subscribe(listener, "PSUBSCRIBE", *(b"news.%04d.*" % at for at in range(1000)))
            publisher = server.connect()
            request = encode("PUBLISH", "news.0500.sports", TEXT) * 16
            size = 16 * len(encode("pmessage", "news.0500.*", "news.0500.sports", TEXT))
            before, rounds = server.cpu_us(), 2_000
            for _ in range(rounds):
                publisher.sendall(request)
                read_exactly(publisher, 16 * 4)
                read_exactly(listener, size)
            spent = (server.cpu_us() - before) / (16 * rounds)
            figures.setdefault(server.name, []).append(spent)
            server.end()
    for name, values in figures.items():
        print(f"1,000 patterns: {name} {statistics.median(values):.2f} us a PUBLISH", flush=True)


def part_crowd():
    for server in servers():
        listeners = [server.connect() for _ in range(10_000)]
        for listener in listeners:
            subscribe(listener, "SUBSCRIBE", "news")
        # Who reads for all of them is another process: this one looks at the clock.
        reader = os.fork()
        if reader == 0:
            poll = select.epoll()
            by_number = {listener.fileno(): listener for listener in listeners}
            for number in by_number:
                poll.register(number, select.EPOLLIN)
            while True:
                for number, _ in poll.poll():
                    by_number[number].recv(1 << 16)
        pinger, publisher = server.connect(), server.connect()
        ping, times, end = encode("PING"), [], time.monotonic() + 8
        publish, answer = encode("PUBLISH", "news", TEXT), len(b":10000\r\n")
        due, pending, messages = time.monotonic() + 0.5, 0, 0
        publisher.setblocking(False)
        while time.monotonic() < end:
            now = time.monotonic()
            if now >= due and pending == 0:
                publisher.sendall(publish)
                pending, due, messages = answer, now + 0.5, messages + 1
            began = time.perf_counter()
            pinger.sendall(ping)
            read_exactly(pinger, len(b"+PONG\r\n"))
            times.append((time.perf_counter() - began) * 1e3)
            if pending:
                try:
                    pending -= len(publisher.recv(pending))
                except BlockingIOError:
                    pass
        os.kill(reader, 9)
        os.waitpid(reader, 0)
        times.sort()
        print(f"crowd of 10,000: {server.name}, {messages} messages, {len(times)} PINGs: p99 "
              f"{times[len(times) * 99 // 100]:.2f}, p99.9 {times[len(times) * 999 // 1000]:.2f}, "
              f"longest {times[-1]:.2f} ms", flush=True)
        for listener in listeners:
            listener.close()
        server.end()


for part in WANTED:
    globals()["part_" + part]()

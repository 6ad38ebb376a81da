#!/usr/bin/env python3
"""What a dump costs, beside redis-server: pauses while it is written under a steady load
of writes, memory, time to write it and to read it.

    benches/snapshot.py [keys] [seconds]      (5000000 20)

Fills each server in turn with that many strings of 32 to 64 bytes, 100,000 small and
middling collections and one hash of a million fields; then 50 connections write 20,000
strings a second, one at a time on each, without and with BGSAVE under way. A latency is
counted from when its request was due, so a pause counts for all that were due in it, and
the client's own delays are in it: compare with the same run without BGSAVE, and with
redis-server. Memory is RSS; of redis-server the pages its child had copied
(rdb_last_cow_size). Then SAVE alone, and a start with the file until every key is there.
"""

import gc
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time

KEYS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
CONNECTIONS, RATE = 50, 20_000
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORDIS = os.environ.get("CORDIS", os.path.join(TOP, "target/release/cordis-server"))


def encode(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(600)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        self.socket.sendall(encode(*words))
        return self.read()

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2] if rest != b"-1" else None
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest

    def info(self, section):
        lines = self("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def pipe(self, requests, count):
        self.socket.sendall(requests)
        for _ in range(count):
            self.read()


def start(name, folder, shards):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if name == "redis":
        line = ["redis-server", "--port", port, "--dir", folder, "--save", ""]
    else:
        line = [CORDIS, "--port", port, "--dir", folder, "--save", "", "--shards", shards]
    log = open(os.path.join(folder, "log"), "ab")
    begun = time.monotonic()
    process = subprocess.Popen([str(word) for word in line], stdout=log, stderr=log)
    while True:
        try:
            client = Client(port)
            client("DBSIZE")
            return process, port, client, time.monotonic() - begun
        except (OSError, RuntimeError, ValueError):
            if process.poll() is not None:
                raise SystemExit(f"{name} has ended; see {folder}/log")
            time.sleep(0.01)


def fill(client):
    chance = random.Random(1)
    batch = 10_000
    for first in range(0, KEYS, batch):
        requests = [
            encode("SET", "string:%09d" % number, ("%016x" % chance.getrandbits(64)) * chance.randint(2, 4))
            for number in range(first, first + batch)
        ]
        client.pipe(b"".join(requests), batch)
    words = ["RPUSH", "SADD", "HSET", "ZADD"]
    for first in range(0, 100_000, 1000):
        requests = []
        for number in range(first, first + 1000):
            verb = words[number % 4]
            size = 5 if number % 100 else 400
            items = []
            for item in range(size):
                if verb == "HSET":
                    items += ["field:%d" % item, "value:%d" % item]
                elif verb == "ZADD":
                    items += [item * 1.5, "member:%d" % item]
                else:
                    items.append("element:%d" % item)
            requests.append(encode(verb, "collection:%d" % number, *items))
        client.pipe(b"".join(requests), 1000)
    for first in range(0, 1_000_000, 1000):
        items = []
        for number in range(first, first + 1000):
            items += ["field:%d" % number, "value:%d" % number]
        client("HSET", "large", *items)


def rss(process):
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def load(port, process, seconds, is_over):
    """Writes until `seconds` are over and `is_over` says so: latencies in ms, peak of RSS."""
    chance = random.Random(2)
    selector = selectors.EpollSelector()
    idle, due_of, queue = [], {}, []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        idle.append(connection)
    value = b"v" * 48
    latencies, peak, sent = [], rss(process), 0
    gc.disable()
    begun = time.perf_counter()
    looked = begun
    while True:
        now = time.perf_counter()
        wanted = int((now - begun) * RATE)
        while sent < wanted:
            queue.append(begun + sent / RATE)
            sent += 1
        at = 0
        while idle and at < len(queue):
            connection = idle.pop()
            due_of[connection] = queue[at]
            at += 1
            key = b"string:%09d" % chance.randrange(KEYS)
            connection.send(b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$48\r\n%s\r\n" % (key, value))
        del queue[:at]
        for key, _ in selector.select(0.0005):
            connection = key.fileobj
            if connection.recv(64) != b"+OK\r\n":
                raise SystemExit("a write was refused")
            latencies.append((time.perf_counter() - due_of[connection]) * 1000)
            idle.append(connection)
        if now - looked > 0.1:
            looked = now
            peak = max(peak, rss(process))
            if now - begun > seconds and is_over():
                break
    gc.enable()
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    latencies.sort()
    return latencies, peak


def shown(latencies):
    at = lambda share: latencies[min(len(latencies) - 1, int(len(latencies) * share))]
    return "p50 %.2f p99 %.2f p99.9 %.2f max %.1f ms of %d" % (
        at(0.5), at(0.99), at(0.999), latencies[-1], len(latencies))


def measure(name, shards):
    title = "redis-server" if name == "redis" else f"Cordis, {shards} shards"
    with tempfile.TemporaryDirectory() as folder:
        process, port, client, _ = start(name, folder, shards)
        try:
            fill(client)
            before = rss(process)
            print(f"{title}: filled, {before >> 20} MiB", flush=True)
            latencies, _ = load(port, process, SECONDS, lambda: True)
            print(f"{title}, steady: {shown(latencies)}", flush=True)
            before = rss(process)
            client("BGSAVE")
            begun = time.monotonic()
            over = lambda: client.info("persistence")["rdb_bgsave_in_progress"] == "0"
            latencies, peak = load(port, process, 0, over)
            took = time.monotonic() - begun
            info = client.info("persistence")
            more = int(info["rdb_last_cow_size"]) if name == "redis" else peak - before
            print(f"{title}, BGSAVE: {shown(latencies)}; {took:.1f} s, {more / 2**20:.0f} MiB more "
                  f"({100 * more / before:.1f} %); {info['rdb_last_bgsave_status']}", flush=True)
            keys = client("DBSIZE")
            begun = time.monotonic()
            client("SAVE")
            took = time.monotonic() - begun
            size = os.path.getsize(os.path.join(folder, "dump.rdb"))
            print(f"{title}, SAVE: {took:.2f} s, {size >> 20} MiB", flush=True)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process, port, client, took = start(name, folder, shards)
            if client("DBSIZE") != keys:
                raise SystemExit("keys are missing")
            print(f"{title}, load: {took:.2f} s", flush=True)
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    for name, shards in [("redis", 1), ("cordis", 1), ("cordis", 2)]:
        measure(name, shards)

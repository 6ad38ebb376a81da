#!/usr/bin/env python3
"""Memory of collections beside redis-server: growth of RSS per element.

    benches/collections_memory.py        (needs a release build)

A million members of 16 bytes in a sorted set and in a set, elements of 32 bytes
in a list, and a million hashes of five small fields, one server at a time. RSS
is read ten seconds after the last request, when allocators have given back.
"""
import random
import socket
import subprocess
import time

COUNT = 1_000_000
SERVERS = [
    ["redis-server", "--save", "", "--appendonly", "no"],
    ["target/release/cordis-server", "--save", "", "--shards", "1"],
]


def rss_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


def fill(port, requests):
    client = socket.create_connection(("127.0.0.1", port))
    batch = []

    def flush():
        client.sendall(b"".join(batch))
        missing = len(batch)
        while missing:
            missing -= client.recv(1 << 16).count(b"\n")
        batch.clear()

    for request in requests:
        batch.append(request)
        if len(batch) == 500:
            flush()
    flush()


def zset():
    for i in range(0, COUNT, 10):
        pairs = [(b"%f" % random.random(), b"member:%09d" % j) for j in range(i, i + 10)]
        yield encode(b"ZADD", b"z", *[word for pair in pairs for word in pair])


def hashes():
    for i in range(COUNT):
        pairs = [(b"f%d" % j, b"val%d" % (i % 1000)) for j in range(5)]
        yield encode(b"HSET", b"hash:%011d" % i, *[word for pair in pairs for word in pair])


def list_():
    for i in range(0, COUNT, 10):
        yield encode(b"RPUSH", b"l", *[b"element:%024d" % j for j in range(i, i + 10)])


def set_():
    for i in range(0, COUNT, 10):
        yield encode(b"SADD", b"s", *[b"member:%09d" % j for j in range(i, i + 10)])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


for name, requests in [("zset", zset), ("hashes", hashes), ("list", list_), ("set", set_)]:
    figures = []
    for command in SERVERS:
        port = free_port()
        server = subprocess.Popen(
            command + ["--port", str(port), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(1)
            before = rss_bytes(server.pid)
            fill(port, requests())
            time.sleep(10)
            figures.append((rss_bytes(server.pid) - before) / COUNT)
        finally:
            server.kill()
            server.wait()
    redis, cordis = figures
    print(f"{name:8} redis {redis:6.1f}  cordis {cordis:6.1f} bytes each  ratio {cordis / redis:.2f}")

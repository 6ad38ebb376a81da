#!/usr/bin/env python3
"""Reads of whole large collections beside redis-server: CPU and memory of the server.

    benches/long_replies.py [ELEMENTS]           (needs a release build)

One shard on CPU 0 beside redis-server, the client on CPU 1. Each collection is read
three times; quoted are user+system time of the process per reply, and by how much
its peak RSS during the replies is above its RSS before them.
"""
import atexit
import os
import re
import socket
import subprocess
import sys
import time

ELEMENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
READS = 3
KINDS = {
    "list": ("RPUSH", ["LRANGE", "key", "0", "-1"], lambda n: [b"element:%08d" % n]),
    "set": ("SADD", ["SMEMBERS", "key"], lambda n: [b"element:%08d" % n]),
    "hash": ("HSET", ["HGETALL", "key"], lambda n: [b"element:%08d" % n, b"v%d" % n]),
    "zset": ("ZADD", ["ZRANGE", "key", "0", "-1", "WITHSCORES"],
             lambda n: [b"%d" % n, b"element:%08d" % n]),
}


def encode(*args):
    args = [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, name, command):
        port = free_port()
        command = ["taskset", "-c", "0", *command, "--port", str(port), "--bind", "127.0.0.1"]
        self.name = name
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{name} does not answer")

    def cpu_ms(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, field):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(field + r":\s+(\d+)", status.read()).group(1)) / 1024

    def forget_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as refs:
            refs.write("5")

    def call(self, *args):
        """Sends a request, then PING, and reads up to the answer to that."""
        self.socket.sendall(encode(*args) + encode("PING"))
        length, end = 0, b""
        while not end.endswith(b"+PONG\r\n"):
            bytes_ = self.socket.recv(1 << 20)
            if not bytes_:
                sys.exit(f"{self.name} has closed the connection")
            length += len(bytes_)
            end = (end + bytes_)[-16:]
        return length


def measure(server, kind):
    add, read, words = KINDS[kind]
    for first in range(0, ELEMENTS, 1000):
        numbers = range(first, min(first + 1000, ELEMENTS))
        server.call(add, "key", *[word for number in numbers for word in words(number)])
    server.forget_peak()
    memory, cpu = server.memory_mb("VmRSS"), server.cpu_ms()
    lengths = {server.call(*read) for _ in range(READS)}
    cpu, memory = (server.cpu_ms() - cpu) / READS, server.memory_mb("VmHWM") - memory
    server.call("DEL", "key")
    return lengths, cpu, memory


def main():
    os.sched_setaffinity(0, {1})
    servers = [
        Server("redis-server", ["redis-server", "--save", ""]),
        Server("cordis", ["target/release/cordis-server", "--save", "", "--shards", "1"]),
    ]
    try:
        for kind in KINDS:
            (expected, redis, redis_mb), (lengths, cordis, cordis_mb) = (
                measure(server, kind) for server in servers)
            assert lengths == expected, f"{kind}: {lengths} bytes, not {expected}"
            print(f"{kind} of {ELEMENTS}: redis-server {redis:.0f} ms, {redis_mb:+.0f} MB; "
                  f"cordis {cordis:.0f} ms, {cordis_mb:+.0f} MB; CPU ratio {cordis / redis:.2f}")
    finally:
        for server in servers:
            server.process.terminate()
            server.process.wait()


main()

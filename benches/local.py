#!/usr/bin/env python3
"""Requests on keys of the client's own core: CPU of two shards beside one.

    benches/local.py [ROUNDS]           (needs a release build)

Fifty connections of one process send GETs to a server of one shard on CPU 0 and to
one of two shards on CPUs 0 and 1, in turn, at pipeline 1, 16 and 100. With two shards
each connection asks for keys of the core that has accepted it: that whose thread works
when it sends PINGs. Quoted: user+system time of the process per request.
"""
import atexit
import os
import select
import socket
import statistics
import subprocess
import sys
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
CONNECTIONS, KEYS = 50, 1000
REQUESTS = {1: 200_000, 16: 2_000_000, 100: 6_000_000}
VALUE = b"x" * 32


def encode(*args):
    args = [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def tag_of(shard, shards):
    """A hash tag whose slot belongs to a shard of so many."""
    return next(b"{%d}" % number for number in range(1000)
                if crc16(b"%d" % number) % 16384 * shards // 16384 == shard)


class Server:
    def __init__(self, shards, cpus):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, "target/release/cordis-server", "--port", str(self.port),
             "--bind", "127.0.0.1", "--save", "", "--shards", str(shards)], stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.05)
        self.connections = [socket.create_connection(("127.0.0.1", self.port))
                            for _ in range(CONNECTIONS)]
        self.tags = [tag_of(shard, shards) for shard in range(shards)]
        for tag in self.tags:
            for key in range(KEYS):
                call(self.connections[0], "SET", tag + b"%d" % key, VALUE)
        self.owners = self.find_owners()

    def find_owners(self):
        """The tag of each connection."""
        threads = self.shard_threads()
        owners = []
        for connection in self.connections:
            before = [self.cpu_ns(shard) for shard in threads]
            connection.sendall(encode("PING") * 2000)
            left = 2000 * len(b"+PONG\r\n")
            while left > 0:
                left -= len(connection.recv(1 << 16))
            spent = [self.cpu_ns(shard) - was for shard, was in zip(threads, before)]
            owners.append(self.tags[spent.index(max(spent))])
        return owners

    def shard_threads(self):
        """The threads of each shard."""
        found = [[] for _ in self.tags]
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{thread}/comm") as comm:
                name = comm.read().strip()
            if name.startswith("shard-"):
                found[int(name.split("-")[1])].append(thread)
        return found

    def cpu_ns(self, threads):
        total = 0
        for thread in threads:
            with open(f"/proc/{self.process.pid}/task/{thread}/schedstat") as stat:
                total += int(stat.read().split()[0])
        return total

    def cpu_us(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")

    def load(self, pipeline):
        """CPU per request of so many requests, a pipeline of each connection at a time."""
        batches = [b"".join(encode("GET", tag + b"%d" % (number * 37 % KEYS))
                            for number in range(pipeline)) for tag in self.owners]
        size = pipeline * len(b"$32\r\n" + VALUE + b"\r\n")
        poll, left = select.epoll(), REQUESTS[pipeline]
        missing = {}
        for index, connection in enumerate(self.connections):
            poll.register(connection.fileno(), select.EPOLLIN)
            missing[connection.fileno()] = [size, index]
        before, sent, done = self.cpu_us(), 0, 0
        for connection, batch in zip(self.connections, batches):
            connection.sendall(batch)
            sent += pipeline
        while done < left:
            for number, _ in poll.poll():
                entry = missing[number]
                connection = self.connections[entry[1]]
                entry[0] -= len(connection.recv(1 << 16))
                if entry[0] == 0:
                    done += pipeline
                    entry[0] = size
                    if sent < left:
                        connection.sendall(batches[entry[1]])
                        sent += pipeline
            if done >= sent >= left:
                break
        poll.close()
        return (self.cpu_us() - before) / done


def call(connection, *args):
    connection.sendall(encode(*args))
    reply = connection.recv(1 << 20)
    if reply.startswith(b"$"):
        head, rest = reply.split(b"\r\n", 1)
        while len(rest) < int(head[1:]) + 2:
            rest += connection.recv(1 << 20)
        return rest
    return reply


def main():
    one, two = Server(1, "0"), Server(2, "0,1")
    try:
        here = sum(owner == two.tags[0] for owner in two.owners)
        print(f"{here} connections on core 0, {CONNECTIONS - here} on core 1")
        for pipeline in REQUESTS:
            costs = [(one.load(pipeline), two.load(pipeline)) for _ in range(ROUNDS)]
            ratio = statistics.median(two_ / one_ for one_, two_ in costs)
            one_, two_ = (statistics.median(cost) for cost in zip(*costs))
            print(f"pipeline {pipeline}: one shard {one_:.2f} us, two {two_:.2f} us, "
                  f"ratio {ratio:.2f} ({' '.join(f'{b / a:.2f}' for a, b in costs)})")
    finally:
        for server in (one, two):
            server.process.terminate()
            server.process.wait()


main()

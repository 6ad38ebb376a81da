#!/usr/bin/env python3
"""MULTI/EXEC blocks of five commands beside redis-server: CPU of the server.

    benches/blocks.py [BLOCKS]           (needs a release build)

Twenty connections on CPU 1 send ten blocks at a time. One shard runs on CPU 0
beside redis-server; two shards on CPUs 0 and 1, once with all keys of a block on
one shard (`{tag}`), once spread. User+system time of the process per block.
"""
import os
import random
import re
import socket
import subprocess
import sys
import time

BLOCKS = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
PIPELINE, CONNECTIONS, ROUNDS = 10, 20, 3
CORDIS = "target/release/cordis-server"
END = re.compile(rb"\*5\r\n\+OK\r\n:\d+\r\n\$32\r\n.{32}\r\n\+OK\r\n\$-1\r\n", re.S)


def cpu_us(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)


def block(spread):
    number = random.randrange(2000)
    form = b"block%d:%d" if spread else b"{block%d}:%d"
    a, b, c, d = (form % (number, part) for part in range(4))
    return b"".join([
        encode(b"MULTI"),
        encode(b"SET", a, b"x" * 32),
        encode(b"INCR", b),
        encode(b"GET", a),
        encode(b"SET", c, b"y" * 32),
        encode(b"GET", d),
        encode(b"EXEC"),
    ])


def load(port, spread):
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    batches = [b"".join(block(spread) for _ in range(PIPELINE)) for _ in range(50)]
    done = 0
    while done < BLOCKS:
        for client in clients:
            client.sendall(random.choice(batches))
        for client in clients:
            received = b""
            while len(END.findall(received)) < PIPELINE:
                received += client.recv(1 << 16)
        done += CONNECTIONS * PIPELINE
    for client in clients:
        client.close()
    return done


def start(cpus, command):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["taskset", "-c", cpus, *command, "--port", str(port), "--bind", "127.0.0.1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port


servers = [
    ("redis-server", *start("0", ["redis-server", "--save", "", "--appendonly", "no"]), False),
    ("one shard", *start("0", [CORDIS, "--save", "", "--shards", "1"]), False),
    ("two shards, one hop", *start("0,1", [CORDIS, "--save", "", "--shards", "2"]), False),
]
servers.append(("two shards, spread", *servers[2][1:3], True))
try:
    time.sleep(1)
    os.sched_setaffinity(0, {1})
    for _ in range(ROUNDS):
        line = []
        for name, server, port, spread in servers:
            before = cpu_us(server.pid)
            done = load(port, spread)
            line.append(f"{name} {(cpu_us(server.pid) - before) / done:.2f}")
        print("us per block: " + "; ".join(line), flush=True)
finally:
    for _, server, _, _ in servers[:3]:
        server.kill()
        server.wait()

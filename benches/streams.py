#!/usr/bin/env python3
"""Reading of streams, alone and for groups, beside redis-server; memory of entries.

    benches/streams.py [ROUNDS]

Both servers run at the same time with one shard and are loaded in turn, by
redis-benchmark with 50 clients at pipeline 16; user+system time of the process over the
requests of a run, medians. Needs target/release/cordis-server and redis-server.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
SERVERS = {
    "redis-server": ["redis-server", "--save", ""],
    "cordis": ["target/release/cordis-server", "--save", "", "--shards", "1"],
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid):
    (line,) = [line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def feed(port, lines):
    """Sends commands as redis-cli's mass insertion does."""
    text = "\n".join(lines).encode()
    command = ["redis-cli", "-p", str(port), "--pipe"]
    subprocess.run(command, input=text, stdout=subprocess.DEVNULL, check=True)


def measure(servers, name, count, command, fill=None):
    figures = {server: [] for server in servers}
    for _ in range(ROUNDS):
        for server, (process, port) in servers.items():
            if fill:
                feed(port, fill)
            before = cpu_s(process.pid)
            benchmark = ["redis-benchmark", "-p", str(port), "-c", "50", "-P", "16", "-q"]
            benchmark += ["-n", str(count), "-r", "20000", *command.split()]
            subprocess.run(benchmark, stdout=subprocess.DEVNULL, check=True)
            figures[server].append((cpu_s(process.pid) - before) / count * 1e6)
    redis, cordis = (statistics.median(figures[server]) for server in servers)
    print(f"{name:20} redis {redis:6.2f} us  cordis {cordis:6.2f} us  ratio {cordis / redis:.2f}")


def memory(name, process, port):
    feed(port, ["FLUSHALL"])
    time.sleep(1)
    empty = rss(process.pid)
    feed(port, (f"XADD m * f value{number % 1000:03}" for number in range(1_000_000)))
    full = rss(process.pid)
    reads = [f"XREADGROUP GROUP g c{number} COUNT 1000 STREAMS m >" for number in range(1000)]
    feed(port, ["XGROUP CREATE m g 0", *reads])
    pending = rss(process.pid)
    print(f"{name}: {(full - empty) / 1e6:.1f} bytes an entry, {(pending - full) / 1e6:.1f} pending")


def main():
    servers = {}
    try:
        for name, command in SERVERS.items():
            port = free_port()
            command = [*command, "--port", str(port), "--bind", "127.0.0.1"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            servers[name] = (process, port)
        time.sleep(2)
        entries = [f"XADD s {n}-1 f v{n:07}" for n in range(1, 20_001)]
        new = ["DEL q", "XGROUP CREATE q g 0 MKSTREAM"]
        new += [f"XADD q {n}-1 f v{n:07}" for n in range(1, 110_001)]
        pending = ["DEL a", "XGROUP CREATE a g 0 MKSTREAM"]
        pending += [f"XADD a {n}-1 f v" for n in range(1, 20_001)]
        pending += ["XREADGROUP GROUP g c COUNT 20000 STREAMS a >"]
        for _, port in servers.values():
            feed(port, ["DEL s", *entries])
        read = "XREADGROUP GROUP g c COUNT"
        measure(servers, "XREAD COUNT 10", 200_000, "XREAD COUNT 10 STREAMS s __rand_int__-1")
        measure(servers, "XREAD, nothing new", 400_000, "XREAD COUNT 10 STREAMS s 20000-1")
        measure(servers, "XREADGROUP COUNT 1", 100_000, f"{read} 1 STREAMS q >", new)
        measure(servers, "XREADGROUP COUNT 10", 10_000, f"{read} 10 STREAMS q >", new)
        measure(servers, "XACK", 100_000, "XACK a g __rand_int__-1", pending)
        for name, (process, port) in servers.items():
            memory(name, process, port)
    finally:
        for process, _ in servers.values():
            process.kill()


if __name__ == "__main__":
    main()

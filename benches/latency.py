#!/usr/bin/env python3
"""What other clients notice: pauses, memory that comes back, idle cost.

    benches/latency.py growth [--keys 10000000]   GETs while one connection inserts
    benches/latency.py expiry [--keys 1000000]    GETs while keys with 1-5 s TTL expire
    benches/latency.py idle                       CPU and memory of idle connections
    benches/latency.py memory [--keys 5000000]    RSS per key (16-byte keys, 32-byte values)

    --server cordis|redis   --shards N   --server-cpus LIST   --client-cpus LIST

Starts the server (release build) on a free loopback port and stops it again.
GETs are sent at 1,000 per second on a connection of their own; latencies are
round trips as the client sees them, its own delays included.
"""

import argparse
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, options, folder):
        self.port = free_port()
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder]
        if options.server == "redis":
            command = ["redis-server", *common, "--save", "", "--appendonly", "no", "--maxclients", "15000"]
        else:
            program = os.path.join(ROOT, "target/release/cordis-server")
            command = [program, *common, "--shards", str(options.shards), "--maxclients", "15000"]
        self.process = subprocess.Popen(["taskset", "-c", options.server_cpus, *command], stdout=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.connect().close()
                break
            except OSError:
                time.sleep(0.05)
        time.sleep(0.3)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def rss_kb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Prober:
    """Sends GETs at 1,000/s and keeps every latency, in a process of its own."""

    def __init__(self, server):
        read, write = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(read)
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            except PermissionError:
                print("(the prober runs at ordinary priority) ", end="", flush=True)
            self.probe(server, write)
        os.close(write)
        self.pipe = read

    @staticmethod
    def probe(server, write):
        import gc
        import signal

        gc.disable()
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        s, latencies, due = server.connect(), [], time.perf_counter()
        while not stop:
            due += 0.001
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            began = time.perf_counter()
            s.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nprobe\r\n")
            s.recv(4096)
            ended = time.perf_counter()
            latencies.append(ended - began)
            due = max(due, ended - 0.001)
        latencies.sort()
        n = len(latencies)
        line = f"{n} {latencies[n // 2]:.6f} {latencies[n * 999 // 1000]:.6f} {latencies[-1]:.6f} {sum(l > 0.001 for l in latencies)}"
        os.write(write, line.encode())
        os._exit(0)

    def result(self):
        os.kill(self.child, 15)
        n, p50, p999, worst, slow = os.read(self.pipe, 200).split()
        os.waitpid(self.child, 0)
        ms = lambda x: f"{float(x) * 1000:.2f} ms"
        return f"{int(n)} GETs: median {ms(p50)}, p99.9 {ms(p999)}, max {ms(worst)}, over 1 ms: {int(slow)}"


def load(server, options, keys):
    """Inserts keys 000…0 to keys-1 with redis-cli, from a generator in awk."""
    program = (
        'BEGIN { for (i = 0; i < %d; i++) printf "*3\\r\\n$3\\r\\nSET\\r\\n$16\\r\\nk%%015d\\r\\n$32\\r\\n'
        'vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\\r\\n", i }' % keys
    )
    with subprocess.Popen(["awk", program], stdout=subprocess.PIPE) as source:
        cli = ["taskset", "-c", options.client_cpus, "redis-cli", "-p", str(server.port), "--pipe"]
        subprocess.run(cli, stdin=source.stdout, stdout=subprocess.DEVNULL, check=True)


def growth(server, options):
    prober, began = Prober(server), time.time()
    load(server, options, options.keys)
    print(f"growth to {options.keys} keys in {time.time() - began:.0f} s; {prober.result()}")


def warm_up(server, options):
    """Has the server touch its receive buffers, so that they count as its own."""
    with tempfile.NamedTemporaryFile() as file:
        file.write((b"*2\r\n$4\r\nPING\r\n$1000\r\n" + b"x" * 1000 + b"\r\n") * 20000)
        file.flush()
        cli = ["taskset", "-c", options.client_cpus, "redis-cli", "-p", str(server.port), "--pipe"]
        with open(file.name, "rb") as requests:
            subprocess.run(cli, stdin=requests, stdout=subprocess.DEVNULL, check=True)
    time.sleep(2)


def expiry(server, options):
    warm_up(server, options)
    before = server.rss_kb()
    with tempfile.NamedTemporaryFile() as file:
        for i in range(options.keys):
            key, ttl = b"k%015d" % i, b"%d" % random.randint(1000, 5000)
            file.write(b"*5\r\n$3\r\nSET\r\n$16\r\n%s\r\n$32\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n$2\r\nPX\r\n$%d\r\n%s\r\n" % (key, len(ttl), ttl))
        file.flush()
        prober = Prober(server)
        cli = ["taskset", "-c", options.client_cpus, "redis-cli", "-p", str(server.port), "--pipe"]
        with open(file.name, "rb") as requests:
            subprocess.run(cli, stdin=requests, stdout=subprocess.DEVNULL, check=True)
    peak = server.rss_kb()
    due, back = time.time() + 5, None
    while time.time() < due + 15:
        time.sleep(0.1)
        if back is None and server.rss_kb() - before < (peak - before) * 0.1:
            back = time.time() - due
    print(f"RSS: {before} KiB before, {peak} KiB loaded, {server.rss_kb()} KiB at the end; nine tenths were back "
          + ("never within 15 s" if back is None else f"{back:+.1f} s from when the last key was due"))
    print(f"expiry of {options.keys} keys; {prober.result()}")


def idle(server, options):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    clients = []

    def open_more(count):
        for _ in range(count):
            s = server.connect()
            s.sendall(b"PING\r\n")
            s.recv(100)
            clients.append(s)

    open_more(1000)
    time.sleep(3)
    before = server.cpu_s()
    time.sleep(20)
    print(f"1,000 idle clients: {(server.cpu_s() - before) / 20 * 100:.2f} % of a core")
    rss = server.rss_kb()
    open_more(9000)
    time.sleep(8)
    print(f"an idle connection: {(server.rss_kb() - rss) * 1024 / 9000:.0f} bytes of RSS (9,000 more)")


def memory(server, options):
    before = server.rss_kb()
    load(server, options, options.keys)
    time.sleep(3)
    after = server.rss_kb()
    print(f"{options.keys} keys: {after * 1024 / options.keys:.1f} bytes of RSS per key, whole process; "
          f"{(after - before) * 1024 / options.keys:.1f} without what the empty server had")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["growth", "expiry", "idle", "memory"])
    parser.add_argument("--keys", type=int)
    parser.add_argument("--server", choices=["cordis", "redis"], default="cordis")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--server-cpus", default="0")
    parser.add_argument("--client-cpus", default="1")
    options = parser.parse_args()
    options.keys = options.keys or {"growth": 10_000_000, "expiry": 1_000_000, "memory": 5_000_000}.get(options.what, 0)
    os.sched_setaffinity(0, {int(cpu) for cpu in options.client_cpus.split(",")})
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options, folder)
        try:
            print(f"{options.server}, {options.shards} shard(s), server CPUs {options.server_cpus}: ", end="", flush=True)
            globals()[options.what](server, options)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())

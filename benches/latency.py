#!/usr/bin/env python3
"""What other clients notice: pauses, memory that comes back, idle cost.

    benches/latency.py growth [--keys 10000000]   GETs while one connection inserts
    benches/latency.py expiry [--keys 1000000]    GETs while keys with 1-5 s TTL expire
    benches/latency.py free [--keys 10000000]     GETs while a list, a set, a hash and a sorted
                                                  set of so many elements are deleted
    benches/latency.py idle                       CPU and memory of idle connections
    benches/latency.py memory [--keys 5000000]    RSS per key (16-byte keys, 32-byte values)
    benches/latency.py keys [--keys 5000000]      GETs while KEYS goes through all keys
    benches/latency.py flush [--keys 5000000]     GETs while FLUSHALL deletes all keys
    benches/latency.py beside --load mset         GETs beside what other keys are locked by:
    benches/latency.py beside --load transfers    without it, with it, and with a control
                       [--seconds 60] [--rounds 1] [--rate N]

    --server cordis|redis|both   --shards N   --server-cpus LIST   --client-cpus LIST

Starts the server (release build) on a free loopback port and stops it again.
GETs are sent at 1,000 per second on a connection of their own; latencies are
round trips as the client sees them, its own delays included.

`beside`: 50 clients in one process, each waiting for its reply, run MSETs of 10 of
100 hot keys, or MULTI, DECRBY, INCRBY, EXEC between accounts on different shards; a
checker among them reads everything at once and looks for halves. The control sends
the very same writes at the same rate, pipelined one by one: what it costs is the
load, and what the load costs beyond that is the order. Three connections probe.
"""

import argparse
import array
import binascii
import os
import random
import resource
import selectors
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
            command = [program, *common, "--save", "", "--shards", str(options.shards), "--maxclients", "15000"]
        # Whatever else runs on this machine has the CPUs that the server leaves free.
        self.process = subprocess.Popen(
            ["nice", "-n", "-20", "taskset", "-c", options.server_cpus, *command], stdout=subprocess.DEVNULL)
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

    def __init__(self, server, key=b"probe"):
        read, write = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(read)
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            except PermissionError:
                print("(the prober runs at ordinary priority) ", end="", flush=True)
            self.probe(server, write, key)
        os.close(write)
        self.pipe = read

    @staticmethod
    def probe(server, write, key):
        import gc
        import signal

        gc.disable()
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        request = encode(b"GET", key)
        s, samples, due = server.connect(), array.array("d"), time.perf_counter()
        while not stop:
            due += 0.001
            pause = due - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            began = time.perf_counter()
            s.sendall(request)
            s.recv(4096)
            ended = time.perf_counter()
            samples.extend((began, ended - began))
            due = max(due, ended - 0.001)
        with os.fdopen(write, "wb") as pipe:
            samples.tofile(pipe)
        os._exit(0)

    def samples(self):
        """Ends it; when each GET was sent (perf_counter), and its latency, in seconds."""
        os.kill(self.child, 15)
        with os.fdopen(self.pipe, "rb") as pipe:
            flat = array.array("d", pipe.read())
        os.waitpid(self.child, 0)
        return list(zip(flat[::2], flat[1::2]))

    def latencies(self):
        """Ends it; every latency, in seconds."""
        return array.array("d", (latency for _, latency in self.samples()))


class Witness:
    """Tells the machine's pauses from the server's: a process of real-time priority
    on each CPU in use, that only sleeps. When it wakes up late, nothing of ordinary
    priority, thus no server, could keep it from running: the host or the kernel did."""

    LATE = 0.0005

    def __init__(self, options):
        cpus = {int(cpu) for cpu in f"{options.server_cpus},{options.client_cpus}".split(",")}
        self.children = [self.start(cpu) for cpu in sorted(cpus)]

    def start(self, cpu):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.sched_setaffinity(0, {cpu})
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
            except PermissionError:
                os._exit(0)
            self.watch(write)
        os.close(write)
        return child, read

    @classmethod
    def watch(cls, write):
        import gc
        import signal

        gc.disable()
        stop, late = [], array.array("d")
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        while not stop:
            began = time.perf_counter()
            time.sleep(cls.LATE)
            ended = time.perf_counter()
            if ended - began > 2 * cls.LATE:
                late.extend((began + cls.LATE, ended))
        with os.fdopen(write, "wb") as pipe:
            late.tofile(pipe)
        os._exit(0)

    def pauses(self):
        """Ends it; when a CPU ran nothing: from and until, in seconds (perf_counter)."""
        pauses = []
        for child, read in self.children:
            os.kill(child, 15)
            with os.fdopen(read, "rb") as pipe:
                flat = array.array("d", pipe.read())
            os.waitpid(child, 0)
            pauses += zip(flat[::2], flat[1::2])
        return sorted(pauses)


def judged(samples, pauses):
    """The latencies, and what is left of each beside pauses of the machine."""
    import bisect

    merged = []
    for began, ended in pauses:
        if merged and began <= merged[-1][1]:
            merged[-1][1] = max(ended, merged[-1][1])
        else:
            merged.append([began, ended])
    ends, own = [ended for _, ended in merged], array.array("d")
    for at, latency in samples:
        left, index = latency, bisect.bisect_right(ends, at)
        while index < len(merged) and merged[index][0] < at + latency:
            left -= min(merged[index][1], at + latency) - max(merged[index][0], at)
            index += 1
        own.append(left)
    lost = sum(ended - began for began, ended in merged)
    longest = max((ended - began for began, ended in merged), default=0)
    return (f"{described([latency for _, latency in samples])}; the machine stood still {len(merged)} times, "
            f"{lost * 1000:.0f} ms together, {longest * 1000:.2f} ms at most; beside that: p99.9 "
            f"{quantile(own, 999) * 1000:.2f} ms, max {max(own) * 1000:.2f} ms, over 1 ms: {sum(l > 0.001 for l in own)}")


def encode(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def quantile(latencies, of_1000):
    return sorted(latencies)[len(latencies) * of_1000 // 1000]


def described(latencies):
    if not latencies:
        return "no GETs"
    ms = lambda seconds: f"{seconds * 1000:.2f} ms"
    return (f"{len(latencies)} GETs: median {ms(quantile(latencies, 500))}, p99.9 {ms(quantile(latencies, 999))}, "
            f"max {ms(max(latencies))}, over 1 ms: {sum(l > 0.001 for l in latencies)}")


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
    witness, prober, began = Witness(options), Prober(server), time.time()
    load(server, options, options.keys)
    print(f"growth to {options.keys} keys in {time.time() - began:.0f} s; {judged(prober.samples(), witness.pauses())}")


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
        witness, prober = Witness(options), Prober(server)
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
    print(f"expiry of {options.keys} keys; {judged(prober.samples(), witness.pauses())}")


def free(server, options):
    program = r"""
        function bulk(text) { printf "$%d\r\n%s\r\n", length(text), text }
        BEGIN {
            for (i = 0; i < keys; i += 20) {
                printf "*%d\r\n", before ? 42 : 22
                bulk(command); bulk("key")
                for (j = i; j < i + 20; j++) {
                    if (before) bulk(sprintf(before, j * 7919 % keys))
                    bulk(sprintf("element:%08d", j))
                }
            }
        }"""
    for command, before in [("RPUSH", ""), ("SADD", ""), ("HSET", "f:%08d"), ("ZADD", "%d")]:
        variables = [f"command={command}", f"before={before}", f"keys={options.keys}"]
        awk = ["awk", *(part for variable in variables for part in ("-v", variable)), program]
        with subprocess.Popen(awk, stdout=subprocess.PIPE) as source:
            cli = ["taskset", "-c", options.client_cpus, "redis-cli", "-p", str(server.port), "--pipe"]
            subprocess.run(cli, stdin=source.stdout, stdout=subprocess.DEVNULL, check=True)
        time.sleep(1)
        client, rss, prober = server.connect(), server.rss_kb(), Prober(server)
        time.sleep(1)
        began = time.perf_counter()
        client.sendall(b"*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n")
        client.recv(100)
        took = time.perf_counter() - began
        time.sleep(4)
        print(f"\n  {command} of {options.keys}: DEL {took * 1000:.2f} ms, "
              f"{rss} KiB of RSS before, {server.rss_kb()} after; {described(prober.latencies())}", end="")
    print()


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


def read_reply(s):
    """Reads one reply: a line, or an array of keys of load(), which take 23
    bytes each; as fast as they come. The number of its bytes."""
    buffer, head, size, whole = bytearray(1 << 20), b"", 0, None
    while whole is None or size < whole:
        n = s.recv_into(buffer)
        if n == 0:
            raise EOFError
        size += n
        if whole is None:
            head += buffer[:n]
            line, end, _ = head.partition(b"\r\n")
            if end:
                whole = len(line) + 2 + (int(line[1:]) * 23 if line[:1] == b"*" else 0)
    return size


def around(server, commands):
    """Sends commands one by one while a prober runs, and says what it met from
    each command until its reply was read, and in the second after."""
    s, spans = server.connect(), []
    prober = Prober(server)
    time.sleep(2)
    for words in commands:
        request = encode(*words)
        began = time.perf_counter()
        s.sendall(request)
        size = read_reply(s)
        spans.append((b" ".join(words).decode(), began, time.perf_counter(), size))
        time.sleep(1.5)
    samples = prober.samples()
    print(f"\n  quiet: {described([l for at, l in samples if at + l < spans[0][1] - 0.1])}")
    for name, began, ended, size in spans:
        during = [l for at, l in samples if at + l > began and at < ended]
        after = [l for at, l in samples if ended <= at < ended + 1]
        print(f"  {name}: reply of {size} bytes after {(ended - began) * 1000:.2f} ms\n    meanwhile: {described(during)}")
        print(f"    in the second after it: {described(after)}")


def keys(server, options):
    load(server, options, options.keys)
    time.sleep(2)
    around(server, [[b"KEYS", b"nothing*"], [b"KEYS", b"*"], [b"KEYS", b"nothing*"]])


def flush(server, options):
    for words in ([b"FLUSHALL"], [b"FLUSHALL", b"ASYNC"]):
        load(server, options, options.keys)
        time.sleep(2)
        around(server, [words])


class Msets:
    """MSETs of 10 of 100 keys. Each writes one stamp, which names its set of keys."""

    KEYS = [b"hot:%03d" % number for number in range(100)]

    def __init__(self, shards):
        self.sets = [random.sample(range(100), 10) for _ in range(500)]
        self.stamp = 0
        self.check = encode(b"MGET", *self.KEYS)
        self.check_lines = 201

    def request(self, apart):
        """The next request, and the number of lines of its reply."""
        self.stamp += 1
        number = random.randrange(len(self.sets))
        stamp = b"%d:%d" % (number, self.stamp)
        keys = [self.KEYS[key] for key in self.sets[number]]
        if apart:
            return b"".join(encode(b"SET", key, stamp) for key in keys), 10
        return encode(b"MSET", *[word for key in keys for word in (key, stamp)]), 1

    def begin(self):
        return encode(b"MSET", *[word for key in self.KEYS for word in (key, b"-1:0")])

    def violations(self, reply):
        """Two MSETs are in order: not the one first here and the other there."""
        stamps = reply.split(b"\r\n")[2::2]
        sets = {stamp: set(self.sets[int(stamp.split(b":")[0])]) for stamp in set(stamps) if stamp != b"-1:0"}
        seen = {stamp: {key for key, other in enumerate(stamps) if other == stamp} for stamp in sets}
        over = lambda one, other: bool(sets[other] & seen[one])
        pairs = ((one, other) for one in sets for other in sets if one < other)
        return sum(over(one, other) and over(other, one) for one, other in pairs)


class Transfers:
    """Money moves between 20 accounts, always from a shard to another."""

    def __init__(self, shards):
        self.accounts = [b"account:%d" % number for number in range(20)]
        shard = lambda key: binascii.crc_hqx(key, 0) % 16384 * shards // 16384
        pairs = [(one, other) for one in self.accounts for other in self.accounts if one != other]
        self.pairs = [pair for pair in pairs if shards == 1 or shard(pair[0]) != shard(pair[1])]
        self.check = encode(b"MGET", *self.accounts)
        self.check_lines = 41

    def request(self, apart):
        (one, other), amount = random.choice(self.pairs), b"%d" % random.randrange(100)
        commands = encode(b"DECRBY", one, amount) + encode(b"INCRBY", other, amount)
        if apart:
            return commands, 2
        return encode(b"MULTI") + commands + encode(b"EXEC"), 6

    def begin(self):
        return encode(b"MSET", *[word for account in self.accounts for word in (account, b"1000")])

    def violations(self, reply):
        return int(sum(map(int, reply.split(b"\r\n")[2::2])) != 20_000)


def drive(server, options, apart, rate, write):
    """The load: runs in a process of its own until it is told to stop, and reports."""
    import signal

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    kind = (Msets if options.load == "mset" else Transfers)(options.shards)
    waiting, idle, selector = {}, [], selectors.DefaultSelector()
    for number in range(51):
        s = server.connect()
        selector.register(s, selectors.EVENT_READ)
        idle.append(s)
    checker = idle.pop()
    checker.sendall(kind.begin())
    checker.recv(100)
    done = checks = violations = 0
    began = due_check = time.perf_counter()
    while not stop:
        now = time.perf_counter()
        allowed = 50 if rate is None else int((now - began) * rate) - done - len(waiting)
        while idle and allowed > 0:
            s, allowed = idle.pop(0), allowed - 1
            request, lines = kind.request(apart)
            waiting[s] = [lines, b""]
            s.sendall(request)
        if not apart and checker not in waiting and now >= due_check:
            waiting[checker] = [kind.check_lines, b""]
            checker.sendall(kind.check)
            due_check = now + 0.05
        for ready, _ in selector.select(0.001):
            s = ready.fileobj
            state = waiting[s]
            state[1] += s.recv(65536)
            if state[1][:2] == b"-E" or b"\n-E" in state[1]:
                raise SystemExit(f"the server replied {state[1]}")
            if state[1].count(b"\n") < state[0]:
                continue
            del waiting[s]
            if s is checker:
                checks += 1
                violations += kind.violations(state[1])
            else:
                done += 1
                idle.append(s)
    os.write(write, b"%d %d %d" % (done / (time.perf_counter() - began), checks, violations))
    os._exit(0)


class Load:
    def __init__(self, server, options, apart, rate):
        self.pipe, write = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            drive(server, options, apart, rate, write)
        os.close(write)

    def result(self):
        """Requests per second, checks, violations."""
        os.kill(self.child, 15)
        result = [int(number) for number in os.read(self.pipe, 100).split()]
        os.waitpid(self.child, 0)
        return result


def beside(server, options):
    latencies = {"without": [], "with": [], "control": []}
    rate, checks, violations = None, 0, 0
    for _ in range(options.rounds):
        for phase in latencies:
            load = None
            if phase != "without":
                paced = rate if phase == "control" else options.rate
                load = Load(server, options, phase == "control", paced)
            time.sleep(0.5)
            before = server.cpu_s()
            probers = [Prober(server, b"probe:%d" % number) for number in range(3)]
            time.sleep(options.seconds)
            gathered = [latency for prober in probers for latency in prober.latencies()]
            cpu = (server.cpu_s() - before) / options.seconds * 100
            latencies[phase] += gathered
            line = f"  {phase:8}{described(gathered)}; server at {cpu:.0f} % of a core"
            if load:
                reached, checked, wrong = load.result()
                rate = reached if phase == "with" else rate
                checks, violations = checks + checked, violations + wrong
                line += f", {reached} {options.load}/s"
            print(line, flush=True)
    p999 = {phase: quantile(gathered, 999) for phase, gathered in latencies.items()}
    print(f"  p99.9 with the load: {p999['with'] / p999['without']:.2f} times without, "
          f"{p999['with'] / p999['control']:.2f} times the control; {checks} checks, {violations} violations")
    if violations or not checks:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["growth", "expiry", "free", "idle", "memory", "keys", "flush", "beside"])
    parser.add_argument("--keys", type=int)
    parser.add_argument("--server", choices=["cordis", "redis", "both"], default="cordis")
    parser.add_argument("--shards", type=int)
    parser.add_argument("--server-cpus")
    parser.add_argument("--client-cpus")
    parser.add_argument("--load", choices=["mset", "transfers"], default="transfers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate", type=int, help="requests of the load per second; as many as there can be")
    options = parser.parse_args()
    options.keys = options.keys or {"growth": 10_000_000, "free": 10_000_000, "expiry": 1_000_000, "memory": 5_000_000, "keys": 5_000_000, "flush": 5_000_000}.get(options.what, 0)
    # One core for the server and one for the clients, or all for everybody.
    everywhere = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    several = options.what == "beside"
    options.shards = options.shards or (4 if several else 1)
    options.server_cpus = options.server_cpus or (everywhere if several else "0")
    options.client_cpus = options.client_cpus or (everywhere if several else "1")
    os.sched_setaffinity(0, {int(cpu) for cpu in options.client_cpus.split(",")})
    for name in ["cordis", "redis"] if options.server == "both" else [options.server]:
        options.server = name
        with tempfile.TemporaryDirectory() as folder:
            server = Server(options, folder)
            try:
                shards = f"{options.shards} shard(s), " if name == "cordis" else ""
                end = "\n" if several else ""
                print(f"{name}, {shards}server CPUs {options.server_cpus}: ", end=end, flush=True)
                globals()[options.what](server, options)
            finally:
                server.stop()


if __name__ == "__main__":
    sys.exit(main())

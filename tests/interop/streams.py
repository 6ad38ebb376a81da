"""Uses streams through redis-py's helpers, and as job queues are used.

    streams.py PORT PASSWORD

Raises on the first surprise. The same script runs against redis-server, so that
nothing in it is peculiar to Cordis.
"""

import random
import sys
import threading

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT = int(sys.argv[1])
PASSWORD = sys.argv[2]

STREAMS = [f"jobs:{number}" for number in range(8)]
JOBS = 120
WORKERS = 6


def connect(**options):
    retry = Retry(NoBackoff(), 1)
    options = {"password": PASSWORD, "socket_timeout": 60, "retry": retry, **options}
    return redis.Redis(host="127.0.0.1", port=PORT, **options)


def expect_error(text, call):
    try:
        call()
    except redis.ResponseError as error:
        assert text in str(error), f"expected {text!r}, got {error!r}"
    else:
        raise AssertionError(f"no error, expected {text!r}")


def read_by_stream(reply):
    """RESP2 has pairs, RESP3 a map; redis-py wraps the entries of the latter once more."""
    if isinstance(reply, dict):
        return {name: sum(entries, []) for name, entries in reply.items()}
    return dict(reply or [])


def entries(protocol):
    r = connect(protocol=protocol)
    r.flushall()
    ids = [r.xadd("s", {"n": n}, id=f"{n}-1") for n in range(1, 6)]
    assert ids == [f"{n}-1".encode() for n in range(1, 6)]
    assert r.xlen("s") == 5 and r.type("s") == b"stream"
    assert r.xrange("s", "2", "3") == [(b"2-1", {b"n": b"2"}), (b"3-1", {b"n": b"3"})]
    assert r.xrevrange("s", count=1) == [(b"5-1", {b"n": b"5"})]
    assert r.xrange("s", "(4-1", "+") == [(b"5-1", {b"n": b"5"})]
    assert r.xdel("s", "3-1", "9-9") == 1
    assert r.xtrim("s", maxlen=3, approximate=False) == 1
    assert r.xtrim("s", minid="4-0", approximate=False) == 1
    assert r.xadd("s", {"n": 6}, id="6-1", maxlen=2, approximate=False) == b"6-1"
    assert [entry for entry, _ in r.xrange("s")] == [b"5-1", b"6-1"]
    assert r.xadd("none", {"n": 1}, nomkstream=True) is None
    expect_error("equal or smaller", lambda: r.xadd("s", {"n": 1}, id="1-1"))
    info = r.xinfo_stream("s")
    assert info["length"] == 2 and info["last-generated-id"] == b"6-1"
    assert info["entries-added"] == 6 and info["max-deleted-entry-id"] == b"3-1"
    assert info["first-entry"] == (b"5-1", {b"n": b"5"})
    assert read_by_stream(r.xread({"s": "5-1", "none": "0"})) == {
        b"s": [(b"6-1", {b"n": b"6"})]
    }
    assert not r.xread({"s": "$"}, block=5)


def groups(protocol):
    r = connect(protocol=protocol)
    r.flushall()
    assert r.xgroup_create("s", "g", id="0", mkstream=True) is True
    expect_error("BUSYGROUP", lambda: r.xgroup_create("s", "g"))
    expect_error("NOGROUP", lambda: r.xreadgroup("x", "c", {"s": ">"}))
    for n in range(1, 6):
        r.xadd("s", {"n": n}, id=f"{n}-1")
    got = read_by_stream(r.xreadgroup("g", "alice", {"s": ">"}, count=2))
    assert got == {b"s": [(b"1-1", {b"n": b"1"}), (b"2-1", {b"n": b"2"})]}
    got = read_by_stream(r.xreadgroup("g", "bob", {"s": ">"}, count=1, noack=True))
    assert [entry for entry, _ in got[b"s"]] == [b"3-1"]
    assert r.xack("s", "g", "1-1", "3-1") == 1
    summary = r.xpending("s", "g")
    assert summary["pending"] == 1 and summary["min"] == b"2-1"
    assert summary["consumers"] == [{"name": b"alice", "pending": 1}]
    (pending,) = r.xpending_range("s", "g", "-", "+", 10)
    assert pending["consumer"] == b"alice" and pending["times_delivered"] == 1
    claimed = r.xclaim("s", "g", "bob", 0, ["2-1"])
    assert claimed == [(b"2-1", {b"n": b"2"})]
    cursor, claimed, deleted = r.xautoclaim("s", "g", "carol", 0)
    assert (cursor, deleted) == (b"0-0", []) and [entry for entry, _ in claimed] == [b"2-1"]
    got = read_by_stream(r.xreadgroup("g", "carol", {"s": "0"}))
    assert [entry for entry, _ in got[b"s"]] == [b"2-1"]
    assert r.xgroup_createconsumer("s", "g", "dave") == 1
    assert r.xgroup_delconsumer("s", "g", "carol") == 1
    names = [consumer["name"] for consumer in r.xinfo_consumers("s", "g")]
    assert names == [b"alice", b"bob", b"dave"]
    (group,) = r.xinfo_groups("s")
    assert group["entries-read"] == 3 and group["lag"] == 2 and group["pending"] == 0
    assert r.xgroup_setid("s", "g", "0") is True
    assert r.xgroup_destroy("s", "g") == 1
    expect_error("NOGROUP", lambda: r.xpending("s", "g"))


class Worker(threading.Thread):
    """Takes jobs and acknowledges them. A mortal one stops in the middle of one now and
    then, and begins anew under another name: what it held is taken over by others."""

    def __init__(self, number, protocol, done, over):
        super().__init__(daemon=True)
        self.number, self.protocol, self.done, self.over = number, protocol, done, over
        self.failure = None

    def run(self):
        try:
            life = 0
            while not self.over.is_set():
                self.live(f"worker:{self.number}:{life}")
                life += 1
        except Exception as failure:  # seen by whoever joins
            self.failure = failure

    def live(self, name):
        chance = random.Random(name)
        r = connect(protocol=self.protocol, socket_timeout=20)
        mortal = self.number % 2 == 0
        while not self.over.is_set():
            if chance.random() < 0.3:
                stream = chance.choice(STREAMS)
                _, jobs, _ = r.xautoclaim(stream, "g", name, 30, count=5)
                taken = {stream.encode(): jobs}
            else:
                streams = chance.sample(STREAMS, chance.choice([1, 3, 8]))
                reply = r.xreadgroup("g", name, dict.fromkeys(streams, ">"), count=2, block=20)
                taken = read_by_stream(reply)
            for stream, jobs in taken.items():
                for entry, _ in jobs:
                    if mortal and chance.random() < 0.2:
                        r.connection_pool.disconnect()
                        return
                    if r.xack(stream, "g", entry):
                        self.done.append((stream, entry))


def queues(protocol):
    """Every job is done once, although workers die over it."""
    r = connect(protocol=protocol)
    r.flushall()
    for stream in STREAMS:
        r.xgroup_create(stream, "g", id="$", mkstream=True)
    done, over = [], threading.Event()
    workers = [Worker(number, protocol, done, over) for number in range(WORKERS)]
    for worker in workers:
        worker.start()

    added = []

    def produce(number):
        p = connect(protocol=protocol)
        for job in range(JOBS):
            stream = STREAMS[(job + number) % len(STREAMS)]
            if job % 3:
                added.append((stream.encode(), p.xadd(stream, {"job": f"{number}:{job}"})))
                continue
            block = p.pipeline(transaction=True)
            others = [stream, STREAMS[(job * 5 + 1) % len(STREAMS)]]
            for other in others:
                block.xadd(other, {"job": f"{number}:{job}"})
            added.extend(zip((other.encode() for other in others), block.execute()))

    producers = [threading.Thread(target=produce, args=(n,), daemon=True) for n in range(2)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join(120)
        assert not producer.is_alive()
    # The workers go on until all is done; a bound, in case something is lost.
    for _ in range(6000):
        if len(done) >= len(added) or any(worker.failure for worker in workers):
            break
        over.wait(0.01)
    over.set()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive() and worker.failure is None, worker.failure
    assert sorted(done) == sorted(added), f"{len(added)} jobs, {len(done)} done"
    for stream in STREAMS:
        (group,) = r.xinfo_groups(stream)
        length = r.xlen(stream)
        assert (group["entries-read"], group["lag"], group["pending"]) == (length, 0, 0), group


for protocol in (2, 3):
    entries(protocol)
    groups(protocol)
    queues(protocol)
print("all well")

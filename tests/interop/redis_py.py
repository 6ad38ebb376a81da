"""Uses a server through redis-py as applications do.

    redis_py.py PORT PASSWORD

Raises on the first surprise. The same script runs against redis-server, so
that nothing in it is peculiar to Cordis.
"""

import os
import socket
import sys
import threading

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT = int(sys.argv[1])
PASSWORD = sys.argv[2]


def connect(**options):
    # One retry at once: enough to reconnect, and refusals are not waited on.
    retry = Retry(NoBackoff(), 1)
    options = {"password": PASSWORD, "socket_timeout": 60, "retry": retry, **options}
    return redis.Redis(host="127.0.0.1", port=PORT, **options)


def expect_error(kind, text, call):
    try:
        call()
    except kind as error:
        assert text in str(error), f"expected {text!r}, got {error!r}"
    else:
        raise AssertionError(f"no error, expected {text!r}")


def strings(protocol):
    r = connect(protocol=protocol)
    r.flushall()
    assert r.set("a", "1") is True
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", xx=True, get=True) == b"1"
    assert r.get("a") == b"2"
    assert r.get("missing") is None
    assert r.incr("a") == 3 and r.incrby("a", 10) == 13 and r.decr("a") == 12
    assert r.incrbyfloat("f", 0.5) == 0.5
    assert r.append("s", "hello") == 5 and r.strlen("s") == 5
    assert r.getrange("s", 1, 3) == b"ell" and r.setrange("s", 1, "ipp") == 5
    assert r.mset({"x": "1", "y": "2", "z": "3"}) is True
    assert r.mget("x", "y", "none", "z") == [b"1", b"2", None, b"3"]
    assert r.msetnx({"x": "1", "w": "2"}) is False
    assert r.getdel("x") == b"1" and r.exists("x") == 0
    assert r.setex("e", 1000, "v") is True and 990 < r.ttl("e") <= 1000
    assert r.getex("e", persist=True) == b"v" and r.ttl("e") == -1
    assert r.expire("e", 500, nx=True) is True and r.expire("e", 400, gt=True) is False
    assert r.pexpire("e", 5_000_000) is True and 4_000_000 < r.pttl("e") <= 5_000_000
    assert r.persist("e") is True
    assert r.type("e") == b"string" and r.type("none") == b"none"
    assert r.delete("y", "z", "none") == 2 and r.unlink("w", "e") == 1
    r.set("l1", "ohmytext")
    r.set("l2", "mynewtext")
    assert r.lcs("l1", "l2") == b"mytext" and r.lcs("l1", "l2", len=True) == 6
    assert r.dbsize() == 5
    expect_error(redis.ResponseError, "not an integer", lambda: r.incr("s"))
    expect_error(redis.ResponseError, "unknown command", lambda: r.execute_command("NOSUCH", "x"))
    r.close()


def decoding(protocol):
    r = connect(protocol=protocol, decode_responses=True)
    r.set("é", "naïve")
    assert r.get("é") == "naïve"
    assert r.mget(["é", "none"]) == ["naïve", None]
    r.close()


def pipelines(protocol):
    r = connect(protocol=protocol)
    pipe = r.pipeline(transaction=False)
    for i in range(10_000):
        pipe.set(f"p:{i}", i)
    for i in range(10_000):
        pipe.get(f"p:{i}")
    replies = pipe.execute()
    assert replies == [True] * 10_000 + [b"%d" % i for i in range(10_000)]
    pipe.incr("p:1").execute_command("NOSUCH").incr("p:2")
    replies = pipe.execute(raise_on_error=False)
    assert replies[0] == 2 and isinstance(replies[1], redis.ResponseError) and replies[2] == 3
    r.close()


def connections(protocol):
    r = connect(protocol=protocol, client_name="tester", single_connection_client=True)
    assert r.ping() is True
    assert r.echo("hello") == b"hello"
    name = r.client_getname()
    assert name in ("tester", b"tester"), name
    assert r.client_setname("other") is True
    mine = r.client_id()
    me = [client for client in r.client_list() if int(client["id"]) == mine]
    assert len(me) == 1 and me[0]["name"] == "other" and me[0]["db"] == "0", me
    info = r.client_info()
    assert int(info["id"]) == mine and info["resp"] == str(protocol), info
    assert r.client_no_evict("ON") in (b"OK", "OK", True)

    other = connect(protocol=protocol, single_connection_client=True)
    assert r.client_kill_filter(_id=other.client_id()) == 1
    assert other.ping() is True, "redis-py reconnects by itself"
    other.close()

    third = connect(protocol=protocol, db=3)
    third.set("only here", "1")
    assert r.get("only here") is None and third.dbsize() == 1
    third.flushdb()
    third.close()

    expect_error(
        redis.AuthenticationError, "", lambda: connect(protocol=protocol, password="wrong").ping()
    )
    expect_error(
        (redis.AuthenticationError, redis.ResponseError),
        "",
        lambda: connect(protocol=protocol, password=None).ping(),
    )
    expect_error(redis.ResponseError, "out of range", lambda: connect(db=99).ping())
    user = connect(protocol=protocol, username="default")
    assert user.ping() is True
    user.close()
    r.close()


def server(protocol):
    r = connect(protocol=protocol)
    info = r.info()
    assert info["redis_version"][0] == "7" and info["role"] == "master", info
    assert info["redis_mode"] == "standalone" and info["tcp_port"] == PORT
    assert "used_memory" in r.info("memory")
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert set(r.config_get("timeout", "databases")) == {"timeout", "databases"}
    assert r.config_set("timeout", "120") is True
    assert r.config_get("timeout") == {"timeout": "120"}
    r.config_set("timeout", "0")
    assert r.config_resetstat() is True
    expect_error(redis.ResponseError, "", lambda: r.config_set("nosuch", "1"))
    commands = r.command()
    assert commands["get"]["arity"] == 2 and "readonly" in commands["get"]["flags"]
    assert r.command_count() == len(commands)
    assert b"get" in [name.lower().encode() if isinstance(name, str) else name for name in r.command_list()]
    assert r.command_getkeys("MSET", "a", "1", "b", "2") in (["a", "b"], [b"a", b"b"])
    seconds, micros = r.time()
    assert seconds > 1_600_000_000 and 0 <= micros < 1_000_000
    r.close()


def big_values(protocol):
    r = connect(protocol=protocol)
    value = os.urandom(1 << 20) * 100
    assert r.set("big", value) is True
    assert r.strlen("big") == len(value)
    assert r.get("big") == value
    assert r.getrange("big", 50_000_000, 50_000_099) == value[50_000_000:50_000_100]
    every_byte = bytes(range(256))
    assert r.set(every_byte, every_byte) and r.get(every_byte) == every_byte
    r.delete("big", every_byte)
    r.close()


def threads(protocol):
    r = connect(protocol=protocol)
    r.delete("shared")
    failures = []

    def work():
        try:
            for _ in range(500):
                r.incr("shared")
        except Exception as error:  # noqa: BLE001, whatever it is, it is a failure
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures
    assert r.get("shared") == b"10000"
    r.close()


def reconnects(protocol):
    r = connect(protocol=protocol, single_connection_client=True)
    r.set("kept", "yes")
    for _ in range(50):
        r.connection._sock.shutdown(socket.SHUT_RDWR)
        r.connection.disconnect()
        assert r.get("kept") == b"yes"
    r.close()


for protocol in (2, 3):
    for test in (
        strings,
        decoding,
        pipelines,
        connections,
        server,
        big_values,
        threads,
        reconnects,
    ):
        test(protocol)
        print(f"{test.__name__} with RESP{protocol}")
print("all well")

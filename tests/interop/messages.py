"""Publishes and listens through redis-py as applications do.

    messages.py PORT PASSWORD

Raises on the first surprise. The same script runs against redis-server, so that
nothing in it is peculiar to Cordis.
"""

import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT = int(sys.argv[1])
PASSWORD = sys.argv[2]


def connect(**options):
    retry = Retry(NoBackoff(), 1)
    options = {"password": PASSWORD, "socket_timeout": 60, "retry": retry, **options}
    return redis.Redis(host="127.0.0.1", port=PORT, **options)


def wait_until(ready):
    for _ in range(6000):
        if ready():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def expect(pubsub, kind, channel, data, pattern=None):
    message = pubsub.get_message(timeout=60)
    expected = {"type": kind, "pattern": pattern, "channel": channel, "data": data}
    assert message == expected, f"expected {expected}, got {message}"


def channels(protocol):
    r = connect(protocol=protocol)
    p = r.pubsub()
    p.subscribe("a", "b")
    expect(p, "subscribe", b"a", 1)
    expect(p, "subscribe", b"b", 2)
    assert r.publish("a", "hello") == 1 and r.publish("c", "nobody") == 0
    expect(p, "message", b"a", b"hello")
    p.psubscribe("a*", "[xy]?")
    expect(p, "psubscribe", b"a*", 3)
    expect(p, "psubscribe", b"[xy]?", 4)
    assert r.publish("ab", b"\x00\r\n\xff") == 1 and r.publish("x1", "") == 1
    expect(p, "pmessage", b"ab", b"\x00\r\n\xff", b"a*")
    expect(p, "pmessage", b"x1", b"", b"[xy]?")
    assert sorted(r.pubsub_channels()) == [b"a", b"b"] and r.pubsub_channels("b*") == [b"b"]
    assert r.pubsub_numsub("a", "none") == [(b"a", 1), (b"none", 0)]
    assert r.pubsub_numpat() == 2
    assert p.get_message(timeout=0) is None
    p.unsubscribe("a")
    expect(p, "unsubscribe", b"a", 3)
    assert r.publish("a", "pattern only") == 1
    expect(p, "pmessage", b"a", b"pattern only", b"a*")
    p.punsubscribe()
    left = [p.get_message(timeout=60) for _ in range(2)]
    assert sorted(message["channel"] for message in left) == [b"[xy]?", b"a*"], left
    p.unsubscribe()
    expect(p, "unsubscribe", b"b", 0)
    assert not p.subscribed
    p.close()
    r.close()


def sharded(protocol):
    r = connect(protocol=protocol)
    p = r.pubsub()
    p.ssubscribe("a", "b")
    expect(p, "ssubscribe", b"a", 1)
    expect(p, "ssubscribe", b"b", 2)
    assert r.spublish("a", "sharded") == 1 and r.publish("a", "another channel") == 0
    expect(p, "smessage", b"a", b"sharded")
    assert sorted(r.pubsub_shardchannels()) == [b"a", b"b"] and r.pubsub_channels() == []
    assert r.pubsub_shardnumsub("a") == [(b"a", 1)]
    p.sunsubscribe("a")
    expect(p, "sunsubscribe", b"a", 1)
    p.sunsubscribe()
    expect(p, "sunsubscribe", b"b", 0)
    p.close()
    r.close()


def threads(protocol):
    """Listeners with handlers, in threads of redis-py, and publishers in others."""
    r = connect(protocol=protocol)
    count, publishers, listeners = 200, 4, 5
    come = [[] for _ in range(listeners)]
    complete = [threading.Event() for _ in range(listeners)]
    workers = []
    for n in range(listeners):

        def take(message, n=n):
            if message["data"]:
                come[n].append(message["data"])
            if len(come[n]) == count * publishers:
                complete[n].set()

        p = r.pubsub(ignore_subscribe_messages=True)
        # Every other one by its pattern.
        if n % 2:
            p.psubscribe(**{"thread*": take})
        else:
            p.subscribe(**{"thread:1": take})
        workers.append(p.run_in_thread(sleep_time=0.01))
    # Confirmations may not have come yet, but PUBLISH counts who listens.
    wait_until(lambda: r.publish("thread:0", "") + r.pubsub_numsub("thread:1")[0][1] == listeners)

    def publish(publisher):
        own = connect(protocol=protocol)
        for n in range(0, count, 10):
            pipe = own.pipeline(transaction=n % 20 == 0)
            for n in range(n, n + 10):
                pipe.set(f"key:{n}", n).publish("thread:1", f"{publisher}:{n}")
            heard = pipe.execute()[1::2]
            assert heard == [listeners] * 10, heard
        own.close()

    senders = [threading.Thread(target=publish, args=(n,)) for n in range(publishers)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    for n in range(listeners):
        assert complete[n].wait(60), f"{len(come[n])} have come"
        assert come[n] == come[0], "two orders"
    for publisher in range(publishers):
        prefix = b"%d:" % publisher
        own = [int(text[len(prefix) :]) for text in come[0] if text.startswith(prefix)]
        assert own == list(range(count)), own
    for worker in workers:
        worker.stop()
        worker.join()
    r.close()


def health(protocol):
    """PING while it listens, and a connection that is lost and comes again."""
    r = connect(protocol=protocol, health_check_interval=1)
    p = r.pubsub(ignore_subscribe_messages=True)
    p.subscribe("a")
    p.psubscribe("b*")
    p.ping()
    assert p.get_message(timeout=60) is None
    assert p.get_message(timeout=60) is None
    message = p.get_message(timeout=60)
    assert message["type"] == "pong", message
    for kind in ("pubsub", "pubsub"):
        killed = r.execute_command("CLIENT", "KILL", "TYPE", kind)
        assert killed == 1, killed
        assert r.publish("a", "nobody") == 0
        # redis-py connects again and listens to what it has listened to.

        def back():
            p.get_message(timeout=0.01)
            return r.pubsub_numsub("a")[0][1] == 1 and r.pubsub_numpat() == 1

        wait_until(back)
        assert r.publish("a", "back") == 1 and r.publish("bb", "too") == 1
        come = []
        while len(come) < 2:
            message = p.get_message(timeout=60)
            come += [message["data"]] if message else []
        assert come == [b"back", b"too"], come
    p.close()
    r.close()


def resp3():
    """Ordinary commands on the connection that listens."""
    r = connect(protocol=3, single_connection_client=True)
    other = connect()
    pushed = []
    r.connection._parser.set_pubsub_push_handler(lambda push: pushed.append(push))
    r.connection.send_command("SUBSCRIBE", "c")
    while not pushed:
        r.connection.read_response(push_request=True)
    other.set("k", "1")
    assert other.publish("c", "hello") == 1
    assert r.get("k") == b"1"
    assert pushed == [[b"subscribe", b"c", 1], [b"message", b"c", b"hello"]], pushed
    r.close()
    other.close()


for protocol in (2, 3):
    for test in (channels, sharded, threads, health):
        test(protocol)
        print(f"{test.__name__} with RESP{protocol}")
resp3()
print("all well")

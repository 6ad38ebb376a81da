"""Uses the client-side caches of redis-py and coredis, and a hand-made one in RESP2.

    caching.py PORT

Raises on the first surprise. The same script runs against redis-server, so
that nothing in it is peculiar to Cordis.
"""

import asyncio
import random
import sys
import time

import coredis
import redis
from coredis.patterns.cache import LRUCache
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

PORT = int(sys.argv[1])
PATIENCE = 60

# It asks for 7.4; what it uses has been there since 6.0.
CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"


def connect(**options):
    return redis.Redis(host="127.0.0.1", port=PORT, socket_timeout=PATIENCE, **options)


def until(what, ready):
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"waited in vain: {what}"


def copies_are_used_until_they_change():
    """After a PING of its connection the cache has nothing that is old."""
    writer = connect()
    writer.flushall()
    r = connect(protocol=3, cache_config=CacheConfig(), single_connection_client=True)
    cache = r.get_cache()
    keys = [f"key:{number}" for number in range(40)]
    now = {}
    chance = random.Random(1)
    hits = 0
    for version in range(1000):
        for _ in range(3):
            key = chance.choice(keys)
            before = cache.size
            got = r.get(key)
            hits += got is not None and cache.size == before
            assert got == now.get(key), f"{got} of {key}, version {version}"
        some = chance.sample(keys, 3)
        assert r.mget(some) == [now.get(key) for key in some], f"version {version}"
        one, other = chance.sample(keys, 2)
        value = b"%d" % version
        match chance.randrange(7):
            case 0:
                writer.delete(one)
                now.pop(one, None)
            case 1:
                writer.mset({one: value, other: value})
                now[one] = now[other] = value
            case 2:
                pipe = writer.pipeline(transaction=True)
                pipe.set(one, value).set(other, value).execute()
                now[one] = now[other] = value
            case 3 if one in now:
                writer.rename(one, other)
                now[other] = now.pop(one)
            case 4 if chance.randrange(10) == 0:
                writer.flushall()
                now.clear()
            case 5 if one in now:
                assert writer.pexpire(one, 1)
                until("a key expires", lambda: not writer.exists(one))
                del now[one]
            case _:
                # What it changes itself.
                client = chance.choice([writer, r])
                client.set(one, value)
                now[one] = value
        r.ping()
    assert hits > 100, "copies were used"
    r.close()
    writer.close()


def one_connection_is_told_for_others():
    """By hand, as clients do that speak RESP2."""
    writer = connect()
    readers = [connect(protocol=2, single_connection_client=True) for _ in range(4)]
    listener = connect(protocol=2)
    channel = listener.pubsub()
    channel.subscribe("__redis__:invalidate")
    assert channel.get_message(timeout=PATIENCE)["type"] == "subscribe"
    ids = {client["id"] for client in writer.client_list() if client["sub"] == "1"}
    assert len(ids) == 1
    for reader in readers:
        assert reader.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", *ids)
    keys = [f"hand:{number}" for number in range(20)]
    for version in range(50):
        for reader, key in zip(readers * 5, keys):
            reader.get(key)
        writer.mset({key: version for key in keys})
        heard = set()
        while len(heard) < len(keys):
            message = channel.get_message(timeout=PATIENCE)
            assert message["type"] == "message" and message["channel"] == b"__redis__:invalidate"
            heard.update(message["data"])
        assert heard == {key.encode() for key in keys}
    readers[0].get("hand:0")
    writer.flushall()
    for _ in readers:
        assert channel.get_message(timeout=PATIENCE)["data"] is None
    for client in [writer, listener, *readers]:
        client.close()


async def coredis_redirects_to_a_connection():
    writer = coredis.Redis(host="127.0.0.1", port=PORT)
    cache = LRUCache()
    r = coredis.Redis(host="127.0.0.1", port=PORT, cache=cache)
    async with writer, r:
        await writer.flushall()
        keys = [f"key:{number}" for number in range(20)]
        for version in range(50):
            value = b"%d" % version
            await writer.mset({key: value for key in keys})
            end = time.monotonic() + PATIENCE
            for key in keys:
                while await r.get(key) != value:
                    assert time.monotonic() < end, f"{key} stays as it was"
                    await asyncio.sleep(0)
                assert await r.get(key) == value
        summary = cache.stats.summary
        assert summary["hits"] > 500 and summary["invalidations"] > 500, summary


for test in (
    copies_are_used_until_they_change,
    one_connection_is_told_for_others,
):
    test()
    print(test.__name__)
asyncio.run(coredis_redirects_to_a_connection())
print("all well")

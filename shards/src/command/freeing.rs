//! That large values are freed in slices, whatever request ends them.

use super::harness::Engine;
use crate::types::UnixMs;

/// A request that adds a hundred elements.
fn fill(command: &str, first: usize) -> String {
    let mut request = format!("{command} key");
    for number in first..first + 100 {
        request += &match command {
            "zadd" => format!(" {number} element:{number:08}"),
            "hset" => format!(" field:{number:08} element"),
            _ => format!(" element:{number:08}"),
        };
    }
    request
}

#[test]
fn whatever_is_large_goes_in_slices() {
    for command in ["rpush", "sadd", "hset", "zadd"] {
        for request in [
            "del key",
            "unlink key",
            "set key x",
            "rename other key",
            "sunionstore key other",
            "flushdb",
            "expire",
            "ltrim key 10 20",
            "ltrim key 20000 20100",
            "zremrangebyrank key 10 -10",
            "zremrangebyscore key 10 100000",
        ] {
            let of_list = request.starts_with("ltrim");
            let of_zset = request.starts_with("zrem");
            if of_list && command != "rpush" || of_zset && command != "zadd" {
                continue;
            }
            let mut engine = Engine::new();
            engine.run("sadd other member");
            for first in (0..40_000).step_by(100) {
                engine.run(&fill(command, first));
            }
            while engine.shard.free_some(1) {}
            if request == "expire" {
                engine.run("pexpire key 1");
                engine.now = UnixMs(engine.now.0 + 2);
                engine.run("get key");
            } else {
                let reply = engine.run(request);
                assert!(!reply.starts_with('-'), "{request}: {reply}");
            }
            let mut slices = 0;
            while engine.shard.free_some(100) {
                slices += 1;
            }
            assert!(slices >= 5, "{command}, {request}: {slices}");
        }
    }
}

#[test]
fn large_records_go_in_slices() {
    let mut engine = Engine::new();
    let long = "x".repeat(2_000);
    for number in 0..5_000 {
        engine.run(&format!("hset key field:{number} {long}"));
    }
    engine.run("del key");
    let mut slices = 0;
    while engine.shard.free_some(100) {
        slices += 1;
    }
    assert!(slices >= 50, "{slices}");
}

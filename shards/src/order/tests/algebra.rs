//! What goes from shard to shard for a request on several collections.

use super::{Block, Client, Manner, Scene, said, words};
use crate::resp::Protocol;

/// Members of what is large here.
const LARGE: usize = 5000;
/// More than any of these requests need to send, and less than a large input.
const LITTLE: usize = 4000;

impl Scene {
    /// Has `command` write numbered members to a key, some at a time.
    fn fill(&mut self, key: &str, count: usize, member: impl Fn(usize) -> String) {
        let command = key.split(' ').next().unwrap();
        let members: Vec<String> = (0..count).map(member).collect();
        for some in members.chunks(500) {
            self.ask(0, 0, &format!("{key} {}", some.join(" ")));
            self.settle();
        }
        assert_eq!(self.said().len(), count.div_ceil(500), "{command}");
        self.shipped = 0;
    }

    /// Asks core 0, and says what was replied and how much was sent for it.
    fn talk(&mut self, line: &str) -> (String, usize) {
        self.shipped = 0;
        self.ask(0, 1, line);
        self.settle();
        let mut replies = self.said();
        assert_eq!(replies.len(), 1, "{line}");
        (replies.remove(0).1, self.shipped)
    }
}

#[test]
fn a_range_is_cut_out_where_its_source_is() {
    let mut scene = Scene::new();
    scene.fill("ZADD z@1", LARGE, |n| format!("{n} m{n}"));
    for (range, len, first) in [
        ("0 1", ":2", "$2 m0"),
        ("-1 -1", ":1", "$5 m4999"),
        ("(10 +inf BYSCORE LIMIT 1 2", ":2", "$3 m12"),
        ("9 8", ":0", ""),
    ] {
        for destination in ["d@0", "d@2"] {
            let (reply, shipped) = scene.talk(&format!("ZRANGESTORE {destination} z@1 {range}"));
            assert_eq!(reply, len, "{range}");
            assert!(shipped < LITTLE, "{range}: {shipped} bytes");
            let (reply, _) = scene.talk(&format!("ZRANGE {destination} 0 0"));
            assert_eq!(reply, format!("*{} {first}", first.len().min(1)).trim_end());
        }
    }
    let (reply, _) = scene.talk("ZRANGESTORE d@0 z@1 0 x");
    assert_eq!(reply, "-ERR value is not an integer or out of range");
    scene.ask(0, 1, "SADD s@2 a");
    scene.settle();
    assert_eq!(scene.said(), [said(1, ":1")]);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(scene.talk("ZRANGESTORE d@0 s@2 0 0").0, wrong);
}

#[test]
fn places_are_looked_for_where_they_are() {
    let mut scene = Scene::new();
    scene.fill("GEOADD g@1", LARGE, |n| format!("{}.5 45.{n} m{n}", n % 90));
    for (request, found) in [
        (
            "GEOSEARCHSTORE d@2 g@1 FROMLONLAT -90 -40 BYRADIUS 1 m",
            ":0",
        ),
        ("GEOSEARCHSTORE d@2 g@1 FROMMEMBER m0 BYRADIUS 1 m", ":1"),
        ("GEORADIUS g@1 -90 -40 1 m STORE d@2", ":0"),
        ("GEORADIUSBYMEMBER g@1 m7 1 m STOREDIST d@2", ":1"),
    ] {
        let (reply, shipped) = scene.talk(request);
        assert_eq!(reply, found, "{request}");
        assert!(shipped < LITTLE, "{request}: {shipped} bytes");
        let (reply, _) = scene.talk("ZCARD d@2");
        assert_eq!(reply, found, "{request}");
    }
    let (reply, _) = scene.talk("GEOSEARCHSTORE d@2 g@1 FROMMEMBER x BYRADIUS 1 m");
    assert_eq!(reply, "-ERR could not decode requested zset member");
}

#[test]
fn a_small_input_goes_to_the_large_ones() {
    let mut scene = Scene::new();
    scene.fill("SADD s@1", LARGE, |n| format!("m{n}"));
    scene.fill("ZADD z@1", LARGE, |n| format!("{n} m{n}"));
    scene.fill("SADD t@2", 2, |n| format!("m{}", n * LARGE));
    scene.fill("ZADD y@2", 2, |n| format!("0.5 m{}", n * LARGE));
    for (request, expected) in [
        ("SINTER t@2 s@1", "*1 $2 m0"),
        ("SINTER s@1 t@2 s@1", "*1 $2 m0"),
        ("SINTER s@1 x@2", "*0"),
        ("SDIFF t@2 s@1", "*1 $5 m5000"),
        ("SDIFF x@2 s@1", "*0"),
        ("SINTERCARD 2 s@1 t@2", ":1"),
        ("SINTERSTORE d@0 t@2 s@1", ":1"),
        ("SDIFFSTORE s@1 t@2 s@1", ":1"),
        ("SMEMBERS s@1", "*1 $5 m5000"),
        ("ZINTER 2 z@1 y@2 WITHSCORES", "*2 $2 m0 $3 0.5"),
        ("ZDIFF 2 y@2 z@1 WITHSCORES", "*2 $5 m5000 $3 0.5"),
        ("ZINTERCARD 2 z@1 t@2", ":1"),
        ("ZINTERCARD 2 z@1 x@2", ":0"),
        ("ZDIFFSTORE d@0 2 y@2 z@1", ":1"),
        ("ZINTERSTORE z@1 2 y@2 z@1 WEIGHTS 2 1", ":1"),
        ("ZRANGE z@1 0 -1 WITHSCORES", "*2 $2 m0 $1 1"),
    ] {
        let (reply, shipped) = scene.talk(request);
        assert_eq!(reply, expected, "{request}");
        assert!(shipped < LITTLE, "{request}: {shipped} bytes");
    }
}

#[test]
fn common_members_are_counted_up_to_the_limit_and_no_further() {
    let mut scene = Scene::new();
    for key in ["SADD s@1", "SADD t@2"] {
        scene.fill(key, 4 * LARGE, |n| format!("m{n}"));
    }
    for key in ["ZADD z@1", "ZADD y@2"] {
        scene.fill(key, 4 * LARGE, |n| format!("{n} m{n}"));
    }
    for keys in ["2 s@1 t@2", "2 s@1 s@1"] {
        let (reply, shipped) = scene.talk(&format!("SINTERCARD {keys} LIMIT 1"));
        assert_eq!(reply, ":1", "{keys}");
        assert!(shipped < 8 * LITTLE, "{keys}: {shipped} bytes");
        assert_eq!(scene.talk(&format!("SINTERCARD {keys}")).0, ":20000");
        assert_eq!(
            scene.talk(&format!("SINTERCARD {keys} LIMIT 9999")).0,
            ":9999"
        );
    }
    for keys in ["2 z@1 y@2", "2 z@1 z@1", "3 z@1 y@2 s@1"] {
        let (reply, shipped) = scene.talk(&format!("ZINTERCARD {keys} LIMIT 1"));
        assert_eq!(reply, ":1", "{keys}");
        assert!(shipped < 8 * LITTLE, "{keys}: {shipped} bytes");
        assert_eq!(scene.talk(&format!("ZINTERCARD {keys}")).0, ":20000");
        assert_eq!(
            scene.talk(&format!("ZINTERCARD {keys} LIMIT 9999")).0,
            ":9999"
        );
    }
}

/// The elements of a reply in order, for those that have none of their own.
fn sorted(reply: &str) -> Vec<String> {
    let mut words: Vec<String> = reply.split(' ').map(str::to_owned).collect();
    words.sort_unstable();
    words
}

#[test]
fn inputs_of_any_size_give_the_same_on_one_shard_and_on_three() {
    const SIZES: [usize; 4] = [0, 3, 140, 700];
    for sizes in 0..SIZES.len().pow(3) {
        let mut scene = Scene::new();
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            let size = SIZES[sizes / SIZES.len().pow(at as u32) % SIZES.len()];
            for shard in [at, 1] {
                let number = |n| n * (at + 2);
                let key = format!("SADD s{name}@{shard}");
                scene.fill(&key, size, |n| format!("m{}", number(n)));
                let key = format!("ZADD z{name}@{shard}");
                scene.fill(&key, size, |n| format!("0.{n} m{}", number(n)));
            }
        }
        for request in [
            "SINTER sa sb sc",
            "SDIFF sa sb sc",
            "SUNION sc sb sa",
            "SINTERCARD 3 sa sb sc",
            "SINTERCARD 2 sb sc LIMIT 20",
            "ZINTER 3 za zb zc WITHSCORES",
            "ZINTER 3 sa zb zc WEIGHTS 3 0.1 7 WITHSCORES",
            "ZDIFF 3 zc zb sa WITHSCORES",
            "ZUNION 2 za zc WITHSCORES",
            "ZINTERCARD 3 za sb zc",
            "ZINTERCARD 2 zb zc LIMIT 20",
        ] {
            let on = |spread: bool| {
                let words = request.split(' ').map(|word| match word.as_bytes() {
                    [b's' | b'z', name @ b'a'..=b'c'] => {
                        let shard = if spread { name - b'a' } else { 1 };
                        format!("{word}@{shard}")
                    }
                    _ => word.to_owned(),
                });
                words.collect::<Vec<_>>().join(" ")
            };
            let (here, _) = scene.talk(&on(false));
            let (spread, _) = scene.talk(&on(true));
            match request.starts_with('Z') {
                true => assert_eq!(spread, here, "{sizes}: {request}"),
                false => assert_eq!(sorted(&spread), sorted(&here), "{sizes}: {request}"),
            }
        }
    }
}

#[test]
fn a_block_asks_for_more_under_its_own_locks() {
    let mut scene = Scene::new();
    scene.fill("SADD s@1", LARGE, |n| format!("m{n}"));
    scene.fill("SADD t@2", LARGE, |n| format!("m{}", 2 * n));
    let mut block = Box::<Block>::default();
    for line in [
        "SADD u@0 m4 x",
        "SINTERSTORE u@0 u@0 s@1",
        "SINTERCARD 2 s@1 t@2",
        "DEL s@1",
        "SDIFF u@0 s@1",
    ] {
        let row = super::row(line.split(' ').next().unwrap());
        assert!(block.push(0, row, None, words(line).args()));
    }
    let manner = Manner {
        db: scene.db,
        protocol: Protocol::Resp2,
        no_touch: false,
        tracks: Default::default(),
        silent: false,
    };
    let client = Client {
        key: 0,
        id: 1,
        place: 0,
    };
    scene.nodes[0].exec(scene.now, client, (0, manner), block);
    scene.nodes[0].serve(scene.now);
    scene.collect(0);
    scene.ask(2, 2, "SCARD s@1");
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(1, "*5 :2 :1 :2500 :1 *1 $2 m4")));
    assert!(replies.contains(&said(2, ":0")), "its locks are released");
}

//! What goes from shard to shard for a request on several collections.

use super::{Scene, said};

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

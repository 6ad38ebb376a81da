//! At which instant transactions and blocks are judged, and what stays meanwhile.

use super::*;

impl Scene {
    /// A client of node `home` has these commands run as a block, on several shards.
    fn exec_over(&mut self, home: u16, client: u64, lines: &[&str]) {
        let mut block = Box::new(Block::default());
        for line in lines {
            let args = words(line);
            let row = row(line.split(' ').next().unwrap());
            assert!(block.push(0, row, None, args.args()));
        }
        let manner = Manner {
            db: self.db,
            protocol: Protocol::Resp2,
            no_touch: false,
            tracks: Default::default(),
            silent: false,
        };
        let waiting = Client {
            key: 0,
            id: client,
            place: 0,
        };
        let now = self.clock(home);
        let node = &mut self.nodes[usize::from(home)];
        assert!(node.place_block(&block).is_none(), "on several shards");
        node.exec(now, waiting, (0, manner), block);
        self.collect(home);
    }

    /// Time passes everywhere, and nobody is in the way of what expires by itself.
    fn later(&mut self, ms: i64) {
        self.now.0 += ms;
        for node in &mut self.nodes {
            while node.shard_mut().expire_due(self.now, 100).more {}
        }
    }

    /// What a client of the key's own node reads at once.
    fn look(&mut self, node: u16, line: &str) -> String {
        self.ask(node, 99, line);
        let replies = self.said();
        assert_eq!(replies.len(), 1, "{line} does not wait");
        replies[0].1.clone()
    }
}

#[test]
fn a_block_that_pauses_sees_what_it_saw_before() {
    let mut scene = Scene::new();
    scene.ask(0, 9, &format!("SET a@0 v PXAT {}", NOW.0 + 5));
    scene.ask(0, 9, &format!("HSETEX h@0 PXAT {} FIELDS 1 f v", NOW.0 + 5));
    for number in 0..20 {
        scene.ask(0, 9, &format!("SET k{number}@0 v"));
    }
    scene.said();
    let lines = ["GET a@0", "KEYS a*", "GET a@0", "HGET h@0 f", "TTL a@0"];
    scene.exec_over(1, 1, &lines);
    scene.deliver_all();
    assert!(scene.said().is_empty(), "it goes through all keys");
    scene.later(10);
    // Others see by their own clocks that the key is gone.
    assert_eq!(scene.look(0, "EXISTS a@0"), ":0");
    assert_eq!(scene.look(0, "HGET h@0 f"), "$-1");
    scene.settle();
    let key = key_of("a", 0);
    let keys = format!("*1 ${} {key}", key.len());
    let seen = format!("*5 $1 v {keys} $1 v $1 v :0");
    assert_eq!(scene.said(), [said(1, &seen)]);
    scene.later(0);
    assert_eq!(scene.nodes[0].shard().keyspace(DbIndex(0)).len(), 20);
}

#[test]
fn a_block_is_judged_at_one_instant_whatever_the_clocks_of_its_shards() {
    // The core of the block, and the others, ahead and behind.
    for behind in 0..3 {
        let mut scene = Scene::new();
        for shard in 0..3 {
            scene.ask(shard, 9, &format!("SET k@{shard} v PXAT {}", NOW.0 + 5));
        }
        scene.said();
        for (index, ahead) in scene.ahead.iter_mut().enumerate() {
            *ahead = if index == behind { 4 } else { 6 };
        }
        scene.exec_over(1, 1, &["GET k@0", "GET k@1", "MGET k@2 k@0", "GET k@2"]);
        scene.settle();
        assert_eq!(scene.said(), [said(1, "*4 $-1 $-1 *2 $-1 $-1 $-1")]);
    }
}

#[test]
fn what_is_alive_when_all_have_granted_is_alive_to_the_end() {
    // RENAME reads in one round and writes in another; the block does several things.
    for line in ["RENAME a@0 b@2", "COPY a@0 b@2"] {
        let mut scene = Scene::new();
        scene.ask(0, 9, &format!("SET a@0 v PXAT {}", NOW.0 + 5));
        scene.said();
        scene.ask(1, 1, line);
        let mut boxes = 0;
        while (0..SHARDS * SHARDS).any(|at| scene.deliver(at / SHARDS, at % SHARDS)) {
            boxes += 1;
            // As soon as the work is under way.
            if boxes == 5 {
                scene.later(10);
            }
        }
        scene.settle();
        assert!(boxes > 5);
        let reply = if line.starts_with("COPY") {
            ":1"
        } else {
            "+OK"
        };
        assert_eq!(scene.said(), [said(1, reply)], "{line}");
    }
}

#[test]
fn a_key_that_expires_behind_a_block_stands_once() {
    let mut scene = Scene::new();
    scene.nodes[0].shard_mut().effects().record(true);
    scene.ask(0, 9, &format!("SET x@0 old PXAT {}", NOW.0 + 5));
    scene.ask(0, 9, "RPUSH l@0 a b");
    scene.ask(0, 9, &format!("PEXPIREAT l@0 {}", NOW.0 + 5));
    scene.ask(0, 9, &format!("HSETEX h@0 PXAT {} FIELDS 1 f v", NOW.0 + 5));
    scene.said();
    scene.nodes[0].shard_mut().effects().take();
    // It holds keys of both shards, none of these.
    scene.exec_over(
        1,
        1,
        &["SET other@0 v", "RENAME other@1 other@2", "GET other@0"],
    );
    let ever = UnixMs(i64::MAX);
    while scene.nodes[0].shard_mut().keep().until(ever) == ever {
        assert!((0..SHARDS * SHARDS).any(|at| scene.deliver(at / SHARDS, at % SHARDS)));
    }
    scene.later(10);
    assert_eq!(scene.look(0, "GET x@0"), "$-1");
    let keys = scene.nodes[0].shard().keyspace(DbIndex(0)).len();
    assert_eq!(keys, 3, "all are hidden");
    assert_eq!(scene.look(0, "SET x@0 new"), "+OK");
    assert_eq!(scene.look(0, "RPUSH l@0 c"), ":1");
    assert_eq!(scene.look(0, "HSET h@0 f new"), ":1");
    assert_eq!(scene.look(0, "GET x@0"), "$3 new");
    scene.nodes[0]
        .shard()
        .keyspace(DbIndex(0))
        .check_invariants();
    scene.settle();
    let log = text(&scene.nodes[0].shard_mut().effects().take());
    let [del, set] = ["DEL", "SET"].map(|name| log.find(&format!("{name} $2 {}", key_of("x", 0))));
    assert!(del.is_some() && del < set, "{log}");
    scene.nodes[0]
        .shard()
        .keyspace(DbIndex(0))
        .check_invariants();
}

//! The cut, and what goes on while a snapshot is under way.

use super::*;
use crate::command::snapshot::{Begun, Keys};

impl Scene {
    fn cut(&mut self, home: u16, client: u64) {
        self.asked += 1;
        let waiting = Client {
            key: 0,
            id: client,
            place: self.asked,
        };
        self.waiting.push(client);
        self.nodes[usize::from(home)].cut(self.now, waiting);
        self.collect(home);
    }

    fn begun(&mut self) -> Begun {
        let replies = self.said();
        let reply = &replies
            .iter()
            .find(|(client, _)| *client == CUTTER)
            .unwrap()
            .1;
        Begun::read(format!("{} ", reply).replace(' ', "\r\n").as_bytes()).unwrap()
    }
}

/// The client for whom snapshots are made.
const CUTTER: u64 = 99;

#[test]
fn a_cut_tells_what_there_is_on_all_shards() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1 d@2 1");
    scene.settle();
    scene.ask(2, 1, "EXPIRE c@2 100");
    scene.db = DbIndex(1);
    scene.ask(1, 1, "HSET h@1 f 1 g 2");
    scene.cut(1, CUTTER);
    scene.deliver_all();
    let keys = |keys, expires| Keys { keys, expires };
    let mut there = Begun {
        changes: 7,
        fields_expire: false,
        dbs: BTreeMap::from([(DbIndex(0), keys(4, 1)), (DbIndex(1), keys(1, 0))]),
    };
    assert_eq!(scene.begun(), there);
    scene.cut(0, CUTTER);
    scene.deliver_all();
    assert_eq!(scene.said(), [said(CUTTER, "-ERR a snapshot is under way")]);
    for node in &mut scene.nodes {
        while node.shard_mut().walk_cut(100) {}
        node.shard_mut().take_saved().unwrap();
    }
    scene.ask(1, 1, "HPEXPIRE h@1 100000 FIELDS 1 f");
    scene.cut(2, CUTTER);
    scene.settle();
    there.fields_expire = true;
    there.changes += 1;
    assert_eq!(scene.begun(), there);
}

/// Nothing is half done at the cut, and nobody who has seen what came after it learns of
/// anything that is missing in it.
#[test]
fn a_cut_waits_for_what_came_before_and_holds_up_all_that_follows() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.cut(0, CUTTER);
    assert!(scene.catch_up(0));
    scene.ask(0, 2, "SET c@0 late");
    scene.ask(0, 3, "GET c@0");
    assert!(scene.said().is_empty());
    scene.settle();
    let keys = Keys {
        keys: 2,
        expires: 0,
    };
    assert_eq!(scene.begun().dbs, BTreeMap::from([(DbIndex(0), keys)]));
}

//! What was loaded beside takes the place of what is there.

use super::{DbIndex, NOW, SHARDS, Scene, half_locked, key_of, said};
use crate::value::Owned;
use std::collections::BTreeSet;

impl Scene {
    /// Each shard has this key, and nobody sees it.
    fn prepare(&mut self, name: &str) {
        for shard in 0..SHARDS {
            let node = self.nodes[usize::from(shard)].shard_mut();
            node.prepare();
            let value = Owned::string(b"loaded".to_vec());
            let key = key_of(name, shard);
            let loaded = node.load(NOW, DbIndex(0), key.as_bytes(), value, (None, 0));
            loaded.unwrap();
        }
    }
}

#[test]
fn what_was_loaded_is_there_on_all_shards_at_once() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.prepare("x");
    scene.ask(0, 2, "MGET x@0 x@1 x@2");
    scene.ask(0, 2, "exchange");
    scene.ask(0, 2, "MGET x@0 x@1 x@2");
    scene.ask(0, 2, "MGET a@0 b@2");
    scene.ask(1, 3, "MGET x@0 x@1 x@2");
    scene.settle();
    let nothing = "*3 $-1 $-1 $-1";
    let all = "*3 $6 loaded $6 loaded $6 loaded";
    let replies = scene.said();
    // They come as they are over.
    let of_client = replies.iter().filter(|(client, _)| *client == 2);
    let own: BTreeSet<&str> = of_client.map(|(_, reply)| reply.as_str()).collect();
    assert_eq!(own, BTreeSet::from([nothing, "+OK", all, "*2 $-1 $-1"]));
    assert!(
        replies.contains(&said(1, ":1")),
        "it was done, and then replaced"
    );
    let other = replies.iter().find(|(client, _)| *client == 3).unwrap();
    assert!([nothing, all].contains(&other.1.as_str()), "{other:?}");
    for node in &mut scene.nodes {
        assert_eq!(
            node.shard_mut().effects().changes(),
            u64::from(node.id().0 != 1)
        );
    }
}

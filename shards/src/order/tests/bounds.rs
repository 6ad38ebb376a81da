//! Replies that are longer than their client may have: there is none, its core is
//! told, and all else is as ever.

use super::*;
use crate::order::{Block, Manner};
use crate::resp::Protocol;
use crate::types::ReplyMax;

const BYTES_MAX: usize = 10_000;

/// Keys `big@0` to `big@2` and a list and sets, of each of which a reply may have one,
/// but not two.
fn bounded() -> Scene {
    let mut scene = Scene::new();
    let value = "x".repeat(BYTES_MAX * 2 / 3);
    for node in 0..SHARDS {
        scene.ask(node, 9, &format!("SET big@{node} {value}"));
        scene.ask(node, 9, &format!("SADD set@{node} {value}{node}"));
    }
    scene.ask(0, 9, &format!("RPUSH list@0 {value} {value}"));
    for node in &mut scene.nodes {
        node.shard_mut().settings.reply_max = ReplyMax {
            bytes: BYTES_MAX,
            closes: true,
        };
    }
    scene.said();
    scene
}

/// The commands of a client of node `home`, as a block.
fn exec(scene: &mut Scene, home: u16, client: u64, lines: &[&str]) {
    let mut block = Box::new(Block::default());
    for line in lines {
        let args = words(line);
        assert!(block.push(0, row(line.split(' ').next().unwrap()), None, args.args()));
    }
    let manner = Manner {
        db: DbIndex(0),
        protocol: Protocol::Resp2,
        no_touch: false,
        tracks: Default::default(),
        silent: false,
    };
    let node = &mut scene.nodes[usize::from(home)];
    let waiting = Client {
        key: 0,
        id: client,
        place: 0,
    };
    match node.place_block(&block) {
        Some(owner) if owner == ShardId(home) => {
            let mut out = Vec::new();
            let over = node.exec_here(NOW, (waiting, || waiting), (0, manner), block, &mut out);
            assert!(over.is_some());
            if !out.is_empty() {
                scene.replies.push((client, text(&out)));
            }
        }
        Some(owner) => node.exec_there(owner, waiting, (0, manner), block),
        None => node.exec(NOW, waiting, (0, manner), block),
    }
    scene.collect(home);
}

/// Clients of node 1 ask for keys of node 0 in one turn.
fn in_one_box(scene: &mut Scene, requests: &[(u64, &str)]) {
    for (client, line) in requests {
        let (args, row) = (words(line), row(line.split(' ').next().unwrap()));
        let waiting = Client {
            key: 0,
            id: *client,
            place: 0,
        };
        scene.nodes[1].send(ShardId(0), waiting, Call::of(row), args.args());
    }
    scene.collect(1);
}

/// What client 1 was told, without the commands of blocks.
fn told(scene: &mut Scene) -> Vec<String> {
    scene.settle();
    let own = scene.said().into_iter().filter(|(client, _)| *client == 1);
    own.map(|(_, reply)| reply).collect()
}

#[test]
fn a_reply_that_is_too_long_is_none_wherever_it_is_made() {
    for home in 0..SHARDS {
        for line in [
            "MGET big@0 big@0",
            "MGET big@1 big@1",
            "MGET big@0 big@1",
            "MGET big@0 big@1 big@2",
            "LRANGE list@0 0 -1",
            "SRANDMEMBER set@0 -2",
            "SUNION set@0 set@1",
            "SUNION set@1 set@2 set@0",
        ] {
            let mut scene = bounded();
            scene.ask(home, 1, line);
            assert_eq!(told(&mut scene), [TOO_LONG], "{line} of {home}");
            scene.ask(home, 1, "GET big@1");
            assert!(told(&mut scene)[0].starts_with("$6666 xxx"));
        }
    }
}

#[test]
fn what_is_read_to_be_written_is_no_reply() {
    let mut scene = bounded();
    scene.ask(0, 1, "SUNIONSTORE to@1 set@0 set@1 set@2");
    assert_eq!(told(&mut scene), [":3"]);
    scene.ask(2, 1, "SUNIONSTORE to@0 set@2 set@0");
    assert_eq!(told(&mut scene), [":2"]);
}

#[test]
fn a_block_runs_whole_though_its_reply_is_too_long() {
    let blocks: [&[&str]; 4] = [
        &["INCR n@0", "GET big@0", "GET big@0", "INCR n@0"],
        &["INCR n@0", "MGET big@0 big@0", "INCR n@0"],
        &["INCR n@0", "GET big@0", "GET big@1", "INCR n@0"],
        &["INCR n@0", "MGET big@0 big@1 big@2", "INCR n@0"],
    ];
    for home in 0..SHARDS {
        for block in blocks {
            let mut scene = bounded();
            exec(&mut scene, home, 1, block);
            assert_eq!(told(&mut scene), [TOO_LONG], "{block:?} of {home}");
            scene.ask(home, 1, "GET n@0");
            assert_eq!(told(&mut scene), ["$1 2"]);
        }
    }
}

#[test]
fn others_in_the_same_box_have_their_replies() {
    let mut scene = bounded();
    let requests = [
        (2, "GET big@0"),
        (1, "MGET big@0 big@0"),
        (3, "GET big@0"),
        (4, "INCR n@0"),
    ];
    in_one_box(&mut scene, &requests);
    scene.settle();
    let lens: Vec<(u64, usize)> = scene.said().iter().map(|it| (it.0, it.1.len())).collect();
    assert_eq!(lens, [(2, 6672), (1, TOO_LONG.len()), (3, 6672), (4, 2)]);
}

#[test]
fn a_client_has_no_more_with_a_box_than_with_a_reply() {
    let mut scene = bounded();
    let requests = [1, 1, 1, 2, 1].map(|client| (client, "GET big@0"));
    in_one_box(&mut scene, &requests);
    scene.settle();
    let lens: Vec<(u64, usize)> = scene.said().iter().map(|it| (it.0, it.1.len())).collect();
    let none = TOO_LONG.len();
    assert_eq!(
        lens,
        [(1, 6672), (1, none), (1, none), (2, 6672), (1, none)]
    );
}

#[test]
fn what_a_command_has_done_stays_though_its_reply_is_too_long() {
    for home in [0, 1] {
        let mut scene = bounded();
        scene.nodes[0].shard_mut().effects().record(true);
        scene.ask(home, 1, "LPOP list@0 2");
        assert_eq!(told(&mut scene), [TOO_LONG]);
        let log = text(&scene.nodes[0].shard_mut().effects().take());
        assert!(log.contains("LPOP"), "{log}");
        scene.ask(home, 1, "EXISTS list@0");
        assert_eq!(told(&mut scene), [":0"]);
    }
}

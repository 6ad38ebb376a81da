//! Values that go from one shard to another.

use super::*;

/// Starts and reads the effects of all nodes.
fn effects(scene: &mut Scene) -> Vec<String> {
    let nodes = scene.nodes.iter_mut();
    let taken = nodes.map(|node| {
        let log = text(&node.shard_mut().effects().take());
        node.shard_mut().effects().record(true);
        log.replace("*2 $6 SELECT $1 0 ", "")
    });
    taken.collect()
}

#[test]
fn a_value_goes_to_another_shard_with_its_deadline() {
    let mut scene = Scene::new();
    scene.ask(0, 1, "SET a@0 1 PXAT 2000000000000");
    scene.ask(2, 1, "SET b@2 old");
    scene.said();
    effects(&mut scene);
    scene.ask(1, 1, "RENAME a@0 b@2");
    scene.settle();
    let (a, b) = (key_of("a", 0), key_of("b", 2));
    let logs = effects(&mut scene);
    let len = |key: &String| key.len();
    assert_eq!(logs[0], format!("*2 $3 DEL ${} {a}", len(&a)));
    assert_eq!(logs[1], "");
    let set = format!("*5 $3 SET ${} {b} $1 1 $4 PXAT $13 2000000000000", len(&b));
    assert_eq!(logs[2], set);
    scene.ask(2, 1, "PEXPIRETIME b@2");
    scene.ask(0, 1, "EXISTS a@0");
    scene.ask(0, 1, "RENAME a@0 b@2");
    scene.ask(0, 1, "RENAMENX a@0 b@2");
    scene.settle();
    let replies = [
        "+OK",
        ":2000000000000",
        ":0",
        "-ERR no such key",
        "-ERR no such key",
    ];
    assert_eq!(scene.said(), replies.map(|reply| said(1, reply)));
}

#[test]
fn what_may_not_go_is_put_back_and_leaves_no_effect() {
    let mut scene = Scene::new();
    scene.ask(0, 9, "MSET a@0 1 b@2 2");
    scene.settle();
    scene.said();
    effects(&mut scene);
    scene.ask(1, 1, "RENAMENX a@0 b@2");
    scene.ask(2, 1, "COPY a@0 b@2");
    scene.settle();
    assert_eq!(scene.said(), [said(1, ":0"), said(1, ":0")]);
    assert_eq!(effects(&mut scene), [""; 3]);
    scene.ask(1, 1, "MGET a@0 b@2");
    scene.ask(1, 2, "RENAMENX a@0 c@1");
    scene.ask(1, 3, "MGET a@0 c@1");
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(1, "*2 $1 1 $1 2")));
    assert!(replies.contains(&said(2, ":1")));
    assert!(replies.contains(&said(3, "*2 $-1 $1 1")));
}

#[test]
fn a_copy_goes_to_the_database_that_it_names() {
    let mut scene = Scene::new();
    scene.ask(0, 9, "SET a@0 1");
    effects(&mut scene);
    scene.said();
    for (line, reply) in [
        ("COPY a@0 b@2 DB 1", ":1"),
        ("COPY a@0 b@2 DB 1", ":0"),
        ("COPY a@0 b@2 DB 1 REPLACE", ":1"),
        ("COPY n@0 b@2 DB 1 REPLACE", ":0"),
        ("COPY a@0 b@2 DB 9", "-ERR DB index is out of range"),
        ("COPY a@0 b@2 DB", "-ERR syntax error"),
    ] {
        scene.ask(1, 1, line);
        scene.settle();
        assert_eq!(scene.said(), [said(1, reply)], "{line}");
    }
    let logs = effects(&mut scene);
    let b = key_of("b", 2);
    let set = format!("*3 $3 SET ${} {b} $1 1", b.len());
    assert_eq!(
        logs,
        [
            "".into(),
            String::new(),
            format!("*2 $6 SELECT $1 1 {set} {set}")
        ]
    );
    scene.db = DbIndex(1);
    scene.ask(2, 1, "GET b@2");
    scene.ask(0, 1, "EXISTS a@0");
    assert_eq!(scene.said(), [said(1, "$1 1"), said(1, ":0")]);
}

//! DEBUG RELOAD.

use crate::support::client::Client;
use crate::support::server::{Server, TempDir, info_field};
use crate::support::wait_until;
use crate::{cordis_in, digest, fill, ok};
use std::fs;

#[test]
fn what_was_reloaded_is_what_was_there() {
    for shards in [1, 4] {
        let dir = TempDir::new();
        let server = cordis_in(dir.path(), shards, &[]);
        let mut client = server.connect();
        let missing = client.call(&["DEBUG", "RELOAD", "NOSAVE"]).to_string();
        assert!(missing.contains("No such file"), "{missing}");
        fill(&mut client);
        let expected = digest(&server);
        client.call(&["SELECT", "0"]);
        let mut watching = server.connect();
        ok(&mut watching, &["WATCH", "int"]);
        writes_wait(&server, &mut client);
        assert_eq!(digest(&server), expected, "{shards} shards");
        ok(&mut watching, &["MULTI"]);
        watching.call(&["PING"]);
        assert_eq!(watching.call(&["EXEC"]).raw, b"*-1\r\n");
        who_waits_is_served(&server, &mut client);
        ok(&mut client, &["SET", "further", "1"]);
        ok(&mut client, &["SET", "int", "2"]);
        let twice = client.call(&["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"]);
        let twice = twice.to_string();
        assert!(twice.contains("Error trying to load"), "{twice}");
        let merge = ["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE"];
        ok(&mut client, &merge);
        let both = b"*2\r\n$1\r\n1\r\n$7\r\n1234567\r\n";
        assert_eq!(client.call(&["MGET", "further", "int"]).raw, both);
        // What is damaged changes nothing.
        let before = digest(&server);
        let dump = dir.path().join("dump.rdb");
        let whole = fs::read(&dump).expect("it is there");
        fs::write(&dump, &whole[..whole.len() / 2]).expect("own folder is writable");
        let refused = client.call(&["DEBUG", "RELOAD", "NOSAVE"]).to_string();
        assert!(refused.contains("dump.rdb"), "{refused}");
        assert_eq!(digest(&server), before);
        ok(&mut client, &["SET", "after", "1"]);
    }
}

/// Writes of others are not lost.
fn writes_wait(server: &Server, client: &mut Client) {
    let mut writer = server.connect();
    client.send(&["DEBUG", "RELOAD"]);
    for number in 0..200 {
        ok(&mut writer, &["SET", &format!("written:{number}"), "v"]);
    }
    assert_eq!(client.read().raw, b"+OK\r\n");
    let written: Vec<String> = (0..200).map(|it| format!("written:{it}")).collect();
    let all = |command: &str| [&[command.to_owned()], &written[..]].concat();
    assert_eq!(client.call(&all("EXISTS")).raw, b":200\r\n");
    assert_eq!(client.call(&all("DEL")).raw, b":200\r\n");
}

/// Who waits for a key is served when it comes with the dump.
fn who_waits_is_served(server: &Server, client: &mut Client) {
    ok(client, &["SAVE"]);
    ok(client, &["FLUSHALL"]);
    let mut waiting = server.connect();
    waiting.send(&["BLPOP", "list", "0"]);
    wait_until("it waits", || {
        let told = client.call(&["INFO", "clients"]).to_string();
        info_field(&told, "blocked_clients") == Some("1")
    });
    ok(client, &["DEBUG", "RELOAD", "NOSAVE"]);
    assert_eq!(waiting.read().value().items()[1].text(), "member 0");
}

#[test]
fn what_cannot_be_reloaded_is_refused() {
    let server = Server::cordis(2, &["--enable-debug-command", "yes"]);
    let mut client = server.connect();
    for (line, expected) in [
        (
            "DEBUG RELOAD x",
            "-ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.\r\n",
        ),
        (
            "DEBUG LOADAOF",
            "-ERR The append-only log is not available in this server\r\n",
        ),
        ("MULTI", "+OK\r\n"),
        ("DEBUG RELOAD", "+QUEUED\r\n"),
        (
            "EXEC",
            "*1\r\n-ERR DEBUG RELOAD is not allowed inside MULTI\r\n",
        ),
    ] {
        let request: Vec<&str> = line.split(' ').collect();
        assert_eq!(client.call(&request).raw, expected.as_bytes(), "{line}");
    }
}

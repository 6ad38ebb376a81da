//! Families that redis-server 7.0 does not know, held against the documentation
//! of later versions.

use crate::support::server::Server;
use crate::support::wait_until;

/// From the documentation of Redis 7.4 and 8.0.
#[test]
fn fields_have_deadlines() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    for (request, reply) in [
        ("HSETEX h EX 1000 FIELDS 2 a 1 b 2", ":1\r\n"),
        ("HEXPIREAT h 70000000000 GT FIELDS 1 a", "*1\r\n:1\r\n"),
        (
            "HEXPIRETIME h FIELDS 2 a x",
            "*2\r\n:70000000000\r\n:-2\r\n",
        ),
        ("HPEXPIREAT h 60000000000000 FIELDS 1 b", "*1\r\n:1\r\n"),
        ("HPEXPIRETIME h FIELDS 1 b", "*1\r\n:60000000000000\r\n"),
        ("HPERSIST h FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n"),
        ("HTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
        ("HPTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
        ("HGETEX h PX 1 FIELDS 1 a", "*1\r\n$1\r\n1\r\n"),
        ("HGETDEL h FIELDS 1 b", "*1\r\n$1\r\n2\r\n"),
        ("HSET t a 1 b 2", ":2\r\n"),
        ("HEXPIRE t 0 FIELDS 1 a", "*1\r\n:2\r\n"),
        ("HPEXPIRE t 1 FIELDS 1 b", "*1\r\n:1\r\n"),
    ] {
        let words: Vec<&str> = request.split(' ').collect();
        let got = String::from_utf8_lossy(&client.call(&words).raw).into_owned();
        assert_eq!(got, reply, "{request}");
    }
    // Nobody asks for the fields: the keys go by themselves.
    wait_until("the keys are gone by themselves", || {
        client.call(&["DBSIZE"]).integer() == 0
    });
}

#[test]
fn newer_than_the_reference() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let expected: &[(&[&str], &str)] = &[
        (&["CLIENT", "SETINFO", "LIB-NAME", "redis-py"], "+OK\r\n"),
        (&["CLIENT", "SETINFO", "lib-ver", "5.0.1"], "+OK\r\n"),
        (
            &["CLIENT", "SETINFO", "LIB-NAME", "two words"],
            "-ERR LIB-NAME cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-VER", "1\n2"],
            "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-WHAT", "x"],
            "-ERR Unrecognized option 'LIB-WHAT'\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-NAME"],
            "-ERR wrong number of arguments for 'client|setinfo' command\r\n",
        ),
        (&["ZADD", "z", "1.5", "a", "2", "b"], ":2\r\n"),
        (&["ZRANK", "z", "b", "WITHSCORE"], "*2\r\n:1\r\n$1\r\n2\r\n"),
        (
            &["ZREVRANK", "z", "a", "withscore"],
            "*2\r\n:1\r\n$3\r\n1.5\r\n",
        ),
        (&["CLIENT", "NO-TOUCH", "ON"], "+OK\r\n"),
        (&["CLIENT", "NO-TOUCH", "off"], "+OK\r\n"),
        (&["CLIENT", "NO-TOUCH", "maybe"], "-ERR syntax error\r\n"),
        (
            &["CLIENT", "NO-TOUCH"],
            "-ERR wrong number of arguments for 'client|no-touch' command\r\n",
        ),
    ];
    for (request, reply) in expected {
        let got = String::from_utf8_lossy(&client.call(request).raw).into_owned();
        assert_eq!(&got, reply, "{request:?}");
    }
    let info = client.call(&["CLIENT", "INFO"]).to_string();
    assert!(info.contains(" lib-name=redis-py lib-ver=5.0.1"), "{info}");
}

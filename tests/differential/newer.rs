//! Families that redis-server 7.0 does not know, held against the documentation
//! of later versions.

use crate::support::server::Server;

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
    while client.call(&["DBSIZE"]).integer() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

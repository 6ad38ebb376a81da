//! What counts as a hit or a miss of the keyspace: for each command as in Redis, on one
//! shard and over several.

use crate::support::client::Client;
use crate::support::server::{Server, info_field};

/// What there is before.
const BEFORE: &[&str] = &[
    "SET s abc",
    "SET n 5",
    "RPUSH l a b",
    "SADD t a b",
    "SADD i 1 2",
    "ZADD z 1 a 2 b",
    "HSET h f v",
    "GEOADD g 13 38 p",
    "PFADD p x",
    "XADD x 1 f v",
];

const COMMANDS: &str = "OBJECT ENCODING s|OBJECT ENCODING no|OBJECT IDLETIME s|OBJECT IDLETIME no|\
OBJECT FREQ no|OBJECT REFCOUNT s|OBJECT REFCOUNT no|TYPE s|TYPE no|TTL s|TTL no|PTTL s|\
EXPIRETIME s|EXISTS s no|TOUCH s no|MEMORY USAGE s|STRLEN s|GETRANGE s 0 1|GETEX s|GETDEL no|\
SET s abc GET|GETSET s abc|MGET s no l|GETBIT s 1|BITCOUNT s|BITCOUNT no|BITPOS s 1|\
BITFIELD s GET u8 0|BITFIELD_RO s GET u8 0|LCS s n|LLEN l|LINDEX l 0|LRANGE l 0 -1|LPOS l a|\
LRANGE no 0 -1|SCARD t|SISMEMBER t a|SMISMEMBER t a b|SMEMBERS t|SRANDMEMBER t|SSCAN t 0|\
SINTER t i|SUNION t no|SDIFF t i|SINTERCARD 2 t i|SINTERSTORE d t i|SUNIONSTORE d t i|\
SMOVE t d a|SORT l ALPHA|SORT l BY nosort GET #|SORT_RO l ALPHA|SORT l ALPHA STORE d2|ZCARD z|\
ZSCORE z a|ZMSCORE z a b|ZRANK z a|ZREVRANK z a|ZRANGE z 0 -1|ZCOUNT z 0 9|ZLEXCOUNT z - +|\
ZRANDMEMBER z|ZSCAN z 0|ZUNION 2 z t|ZINTER 2 z t|ZDIFF 2 z t|ZINTERCARD 2 z t|\
ZRANGESTORE d3 z 0 -1|ZUNIONSTORE d4 2 z t|HGET h f|HMGET h f g|HGETALL h|HKEYS h|HLEN h|\
HEXISTS h f|HSTRLEN h f|HRANDFIELD h|HSCAN h 0|GEOPOS g p|GEODIST g p p|GEOHASH g p|\
GEOSEARCH g FROMMEMBER p BYRADIUS 1 km|GEORADIUS g 13 38 9 km|PFCOUNT p|PFCOUNT p no|\
PFMERGE pd p|COPY s s2|COPY s s2|COPY no s2|RENAME s2 s3|APPEND s x|INCR n|LPUSH l z|LPOP l|\
LMOVE l l LEFT RIGHT|SETRANGE s 0 a|PERSIST s|EXPIRE s 100|DEL s3|UNLINK no|BITOP AND bd s n|\
LREM l 0 q|LINSERT l BEFORE b c|LSET l 0 a|HINCRBY h q 1|ZINCRBY z 1 a|SPOP i|RANDOMKEY|\
SUBSTR s 0 1|WATCH s|XLEN x|XLEN no|XRANGE x - +|XRANGE no - +|XREVRANGE x + - COUNT 0|\
XADD x 2 f v|XDEL x 1|XTRIM x MAXLEN 0|XSETID x 9|XADD no NOMKSTREAM 1 f v";

fn call(client: &mut Client, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&words);
    assert!(!reply.is_error(), "{line}: {reply}");
}

/// Hits and misses so far.
fn counts(client: &mut Client) -> [u64; 2] {
    let info = client.call(&["INFO", "stats"]).to_string();
    ["keyspace_hits", "keyspace_misses"].map(|name| {
        let field = info_field(&info, name).expect("INFO has it");
        field.parse().expect("it is a number")
    })
}

/// What each command counts.
fn counted(server: &Server) -> Vec<[u64; 2]> {
    let mut client = server.connect();
    BEFORE.iter().for_each(|line| call(&mut client, line));
    let mut before = counts(&mut client);
    let of_line = |line| {
        call(&mut client, line);
        let after = counts(&mut client);
        let more = [0, 1].map(|at| after[at] - before[at]);
        before = after;
        more
    };
    COMMANDS.split('|').map(of_line).collect()
}

#[test]
fn hits_and_misses_are_those_of_redis() {
    let expected = counted(&Server::redis(&[]));
    for shards in [1, 4] {
        let found = counted(&Server::cordis(shards, &[]));
        for ((line, expected), found) in COMMANDS.split('|').zip(&expected).zip(&found) {
            assert_eq!(
                found, expected,
                "hits and misses of {line} on {shards} shards"
            );
        }
    }
}

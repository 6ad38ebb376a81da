//! Up to where values keep their compact encodings.

use super::ROW;
use crate::config::Config;
use crate::config::directive::{DefaultValue, Directive, ValueType};
use crate::config::known::{Known, any};

const ENTRIES_MAX: i64 = i64::MAX;
const BYTES_MAX: u64 = i64::MAX as u64;

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    row(
        "list-max-listpack-size",
        Some("list-max-ziplist-size"),
        "-2",
        "Elements of a list node, or its size: -1 to -5 for 4 to 64 KiB",
        integer(
            i32::MIN as i64,
            i32::MAX as i64,
            |c| c.engine.encodings.list_max_listpack_size,
            |c, n| c.engine.encodings.list_max_listpack_size = n,
        ),
    ),
    row(
        "hash-max-listpack-entries",
        Some("hash-max-ziplist-entries"),
        "512",
        "Fields up to which a hash is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.hash_max_listpack_entries as i64,
            |c, n| c.engine.encodings.hash_max_listpack_entries = n as usize,
        ),
    ),
    row(
        "hash-max-listpack-value",
        Some("hash-max-ziplist-value"),
        "64",
        "Bytes of a field or value up to which a hash is a listpack",
        bytes(
            |c| c.engine.encodings.hash_max_listpack_value as u64,
            |c, n| c.engine.encodings.hash_max_listpack_value = n as usize,
        ),
    ),
    row(
        "set-max-intset-entries",
        None,
        "512",
        "Integers up to which a set is an intset",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.set_max_intset_entries as i64,
            |c, n| c.engine.encodings.set_max_intset_entries = n as usize,
        ),
    ),
    row(
        "set-max-listpack-entries",
        None,
        "128",
        "Members up to which a set is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.set_max_listpack_entries as i64,
            |c, n| c.engine.encodings.set_max_listpack_entries = n as usize,
        ),
    ),
    row(
        "set-max-listpack-value",
        None,
        "64",
        "Bytes of a member up to which a set is a listpack",
        bytes(
            |c| c.engine.encodings.set_max_listpack_value as u64,
            |c, n| c.engine.encodings.set_max_listpack_value = n as usize,
        ),
    ),
    row(
        "zset-max-listpack-entries",
        Some("zset-max-ziplist-entries"),
        "128",
        "Members up to which a sorted set is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.zset_max_listpack_entries as i64,
            |c, n| c.engine.encodings.zset_max_listpack_entries = n as usize,
        ),
    ),
    row(
        "zset-max-listpack-value",
        Some("zset-max-ziplist-value"),
        "64",
        "Bytes of a member up to which a sorted set is a listpack",
        bytes(
            |c| c.engine.encodings.zset_max_listpack_value as u64,
            |c, n| c.engine.encodings.zset_max_listpack_value = n as usize,
        ),
    ),
    row(
        "stream-node-max-bytes",
        None,
        "4096",
        "Bytes of a node of a stream, 0 for no limit",
        bytes(
            |c| c.engine.encodings.stream_node_max_bytes as u64,
            |c, n| c.engine.encodings.stream_node_max_bytes = n as usize,
        ),
    ),
    row(
        "stream-node-max-entries",
        None,
        "100",
        "Entries of a node of a stream, 0 for no limit",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.stream_node_max_entries as i64,
            |c, n| c.engine.encodings.stream_node_max_entries = n as usize,
        ),
    ),
    row(
        "hll-sparse-max-bytes",
        None,
        "3000",
        "Bytes up to which a HyperLogLog is sparse",
        bytes(
            |c| c.engine.hll_sparse_max_bytes as u64,
            |c, n| c.engine.hll_sparse_max_bytes = n as usize,
        ),
    ),
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[any("list-compress-depth")];

const fn row(
    name: &'static str,
    alias: Option<&'static str>,
    default: &'static str,
    doc: &'static str,
    value: ValueType,
) -> Directive {
    Directive {
        name,
        alias,
        default: DefaultValue::Is(default),
        doc,
        value,
        ..ROW
    }
}

const fn integer(
    min: i64,
    max: i64,
    get: fn(&Config) -> i64,
    set: fn(&mut Config, i64),
) -> ValueType {
    ValueType::Integer { min, max, get, set }
}

const fn bytes(get: fn(&Config) -> u64, set: fn(&mut Config, u64)) -> ValueType {
    ValueType::Memory {
        min: 0,
        max: BYTES_MAX,
        get,
        set,
    }
}

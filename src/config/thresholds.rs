//! Directives that say up to where values keep their compact encodings.

use super::Config;
use super::directive::{Directive, Kind, Mutability};
use super::table::DirectiveId;

const ENTRIES_MAX: i64 = i64::MAX;
const BYTES_MAX: u64 = i64::MAX as u64;

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub static THRESHOLDS: &[Directive] = &[
    row(
        DirectiveId::ListMaxListpackSize,
        "list-max-listpack-size",
        Some("list-max-ziplist-size"),
        "Elements of a list node, or its size: -1 to -5 for 4 to 64 KiB",
        integer(
            i32::MIN as i64,
            i32::MAX as i64,
            |c| c.engine.encodings.list_max_listpack_size,
            |c, n| c.engine.encodings.list_max_listpack_size = n,
        ),
    ),
    row(
        DirectiveId::HashMaxListpackEntries,
        "hash-max-listpack-entries",
        Some("hash-max-ziplist-entries"),
        "Fields up to which a hash is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.hash_max_listpack_entries as i64,
            |c, n| c.engine.encodings.hash_max_listpack_entries = n as usize,
        ),
    ),
    row(
        DirectiveId::HashMaxListpackValue,
        "hash-max-listpack-value",
        Some("hash-max-ziplist-value"),
        "Bytes of a field or value up to which a hash is a listpack",
        bytes(
            |c| c.engine.encodings.hash_max_listpack_value as u64,
            |c, n| c.engine.encodings.hash_max_listpack_value = n as usize,
        ),
    ),
    row(
        DirectiveId::SetMaxIntsetEntries,
        "set-max-intset-entries",
        None,
        "Integers up to which a set is an intset",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.set_max_intset_entries as i64,
            |c, n| c.engine.encodings.set_max_intset_entries = n as usize,
        ),
    ),
    row(
        DirectiveId::SetMaxListpackEntries,
        "set-max-listpack-entries",
        None,
        "Members up to which a set is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.set_max_listpack_entries as i64,
            |c, n| c.engine.encodings.set_max_listpack_entries = n as usize,
        ),
    ),
    row(
        DirectiveId::SetMaxListpackValue,
        "set-max-listpack-value",
        None,
        "Bytes of a member up to which a set is a listpack",
        bytes(
            |c| c.engine.encodings.set_max_listpack_value as u64,
            |c, n| c.engine.encodings.set_max_listpack_value = n as usize,
        ),
    ),
    row(
        DirectiveId::ZsetMaxListpackEntries,
        "zset-max-listpack-entries",
        Some("zset-max-ziplist-entries"),
        "Members up to which a sorted set is a listpack",
        integer(
            0,
            ENTRIES_MAX,
            |c| c.engine.encodings.zset_max_listpack_entries as i64,
            |c, n| c.engine.encodings.zset_max_listpack_entries = n as usize,
        ),
    ),
    row(
        DirectiveId::ZsetMaxListpackValue,
        "zset-max-listpack-value",
        Some("zset-max-ziplist-value"),
        "Bytes of a member up to which a sorted set is a listpack",
        bytes(
            |c| c.engine.encodings.zset_max_listpack_value as u64,
            |c, n| c.engine.encodings.zset_max_listpack_value = n as usize,
        ),
    ),
    row(
        DirectiveId::HllSparseMaxBytes,
        "hll-sparse-max-bytes",
        None,
        "Bytes up to which a HyperLogLog is sparse",
        bytes(
            |c| c.engine.hll_sparse_max_bytes as u64,
            |c, n| c.engine.hll_sparse_max_bytes = n as usize,
        ),
    ),
];

const fn row(
    id: DirectiveId,
    name: &'static str,
    alias: Option<&'static str>,
    doc: &'static str,
    kind: Kind,
) -> Directive {
    Directive {
        id,
        name,
        alias,
        mutability: Mutability::AtRunTime,
        doc,
        kind,
    }
}

const fn integer(min: i64, max: i64, get: fn(&Config) -> i64, set: fn(&mut Config, i64)) -> Kind {
    Kind::Integer { min, max, get, set }
}

const fn bytes(get: fn(&Config) -> u64, set: fn(&mut Config, u64)) -> Kind {
    Kind::Memory {
        min: 0,
        max: BYTES_MAX,
        get,
        set,
    }
}

//! Limits of memory, and how it is given back.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, ValueType};
use crate::config::known::{Known, any, only};
use crate::config::words::parse_memory;

pub(super) static DIRECTIVES: &[Directive] = &[Directive {
    name: "maxmemory",
    default: DefaultValue::Is("0"),
    doc: "Limit of memory: only 0 (none) is available yet",
    value: ValueType::Words {
        what: "",
        get: |_| "0".to_owned(),
        set: |_, words| match words {
            [] => Ok(()),
            [word] if parse_memory(word) == Some(0) => Ok(()),
            [word] if parse_memory(word).is_some() => {
                Err("a memory limit is not available yet, only 0 is accepted".into())
            }
            _ => Err("argument must be a memory value".into()),
        },
        lines: |_| vec!["0".to_owned()],
    },
    ..ROW
}];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("active-defrag-cycle-max"),
    any("active-defrag-cycle-min"),
    any("active-defrag-ignore-bytes"),
    any("active-defrag-max-scan-fields"),
    any("active-defrag-threshold-lower"),
    any("active-defrag-threshold-upper"),
    any("active-expire-effort"),
    only("activedefrag", "no"),
    any("activerehashing"),
    any("jemalloc-bg-thread"),
    any("lazyfree-lazy-eviction"),
    any("lazyfree-lazy-expire"),
    any("lazyfree-lazy-server-del"),
    any("lazyfree-lazy-user-del"),
    any("lazyfree-lazy-user-flush"),
    any("lfu-decay-time"),
    any("lfu-log-factor"),
    any("maxmemory-eviction-tenacity"),
    only("maxmemory-policy", "noeviction"),
    any("maxmemory-samples"),
];

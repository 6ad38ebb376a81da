//! What only some clients may do.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType};
use crate::config::known::{Known, any, none, only};

const ALLOW_WORDS: &[&str] = &["no", "yes", "local"];

/// What only some clients may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    pub enable_debug_command: AllowFrom,
    pub enable_protected_configs: AllowFrom,
}

/// Who may use something that is off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AllowFrom {
    #[default]
    Nobody,
    Everybody,
    /// Connections from the loopback addresses.
    Local,
}

impl AllowFrom {
    /// Whether a client may, `local` saying that it came over loopback.
    pub fn permits(self, local: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Local => local,
        }
    }
}

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "enable-debug-command",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("no"),
        doc: "Who may use DEBUG",
        value: ValueType::Choice {
            words: ALLOW_WORDS,
            get: |c| c.protection.enable_debug_command as usize,
            set: |c, index| c.protection.enable_debug_command = allow_from(index),
        },
        ..ROW
    },
    Directive {
        name: "enable-protected-configs",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("no"),
        doc: "Who may change dir and dbfilename with CONFIG SET",
        value: ValueType::Choice {
            words: ALLOW_WORDS,
            get: |c| c.protection.enable_protected_configs as usize,
            set: |c, index| c.protection.enable_protected_configs = allow_from(index),
        },
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    only("acl-pubsub-default", "resetchannels"),
    only("aclfile", ""),
    any("acllog-max-len"),
    only("enable-module-command", "no"),
    none("loadmodule"),
    none("rename-command"),
    none("user"),
];

fn allow_from(index: usize) -> AllowFrom {
    match index {
        0 => AllowFrom::Nobody,
        1 => AllowFrom::Everybody,
        _ => AllowFrom::Local,
    }
}

//! What a directive is: a name, a type, and the way to its field.
//!
//! A row of the table holds plain functions that read and write one field of
//! [`Config`]; this module puts the checks in front of them, with Redis's texts.

use shards::parse_i64;

use super::words::{format_memory, parse_memory, quote, split};
use super::{Config, Reason};

/// Whether CONFIG SET may change a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    AtStart,
    AtRunTime,
    /// At run time where `enable-protected-configs` allows it.
    Protected,
}

/// The value before anybody gives another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// As CONFIG SET would be given it.
    Is(&'static str),
    /// What the machine has; see [`Config::new`].
    OfMachine,
}

/// One directive.
pub struct Directive {
    pub name: &'static str,
    pub alias: Option<&'static str>,
    pub mutability: Mutability,
    pub default: DefaultValue,
    /// Its value is not shown in a log.
    pub is_secret: bool,
    pub doc: &'static str,
    pub value: ValueType,
}

/// The type of a directive's value, with its way to the field.
pub enum ValueType {
    Bool {
        get: fn(&Config) -> bool,
        set: fn(&mut Config, bool),
    },
    Integer {
        min: i64,
        max: i64,
        get: fn(&Config) -> i64,
        /// The number is within the limits.
        set: fn(&mut Config, i64),
    },
    Memory {
        min: u64,
        max: u64,
        get: fn(&Config) -> u64,
        /// The number is within the limits.
        set: fn(&mut Config, u64),
    },
    Choice {
        words: &'static [&'static str],
        get: fn(&Config) -> usize,
        /// The index of one of the words.
        set: fn(&mut Config, usize),
    },
    Text {
        what: &'static str,
        get: fn(&Config) -> Vec<u8>,
        set: fn(&mut Config, &[u8]) -> Result<(), Reason>,
    },
    /// Several words, which may also come in one pair of quotes.
    Words {
        what: &'static str,
        get: fn(&Config) -> String,
        set: fn(&mut Config, &[Vec<u8>]) -> Result<(), Reason>,
        /// What follows the name on each line of a configuration file.
        lines: fn(&Config) -> Vec<String>,
    },
}

impl Directive {
    /// The name and the alias.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// The value as CONFIG GET shows it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        match &self.value {
            ValueType::Bool { get, .. } => yes_no(get(config)).into(),
            ValueType::Integer { get, .. } => get(config).to_string().into(),
            ValueType::Memory { get, .. } => get(config).to_string().into(),
            ValueType::Choice { words, get, .. } => words[get(config)].into(),
            ValueType::Text { get, .. } => get(config),
            ValueType::Words { get, .. } => get(config).into(),
        }
    }

    /// The value as a configuration file holds it, one entry per line.
    pub fn lines(&self, config: &Config) -> Vec<String> {
        match &self.value {
            ValueType::Bool { get, .. } => vec![yes_no(get(config)).to_owned()],
            ValueType::Integer { get, .. } => vec![get(config).to_string()],
            ValueType::Memory { get, .. } => vec![format_memory(get(config))],
            ValueType::Choice { words, get, .. } => vec![words[get(config)].to_owned()],
            ValueType::Text { get, .. } => vec![quote(&get(config))],
            ValueType::Words { lines, .. } => lines(config),
        }
    }

    /// Takes the value of a CONFIG SET. As in Redis, words are then separated
    /// by single spaces and quotes mean nothing.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn set_text(&self, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
        match &self.value {
            ValueType::Words { set, .. } if value.is_empty() => set(config, &[]),
            ValueType::Words { set, .. } => {
                let words: Vec<_> = value.split(|byte| *byte == b' ').map(Vec::from).collect();
                set(config, &words)
            }
            _ => self.set_word(config, value),
        }
    }

    /// Takes the words of a configuration line or of a command line option.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn set_words(&self, config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
        match (&self.value, words) {
            (ValueType::Words { set, .. }, [line]) => match split(line) {
                Some(words) => set(config, &words),
                None => Err("Unbalanced quotes in configuration line".into()),
            },
            (ValueType::Words { set, .. }, _) => set(config, words),
            (_, [word]) => self.set_word(config, word),
            _ => Err(WRONG_NUMBER.into()),
        }
    }

    fn set_word(&self, config: &mut Config, word: &[u8]) -> Result<(), Reason> {
        match &self.value {
            ValueType::Bool { set, .. } => {
                let yes = word.eq_ignore_ascii_case(b"yes");
                if !yes && !word.eq_ignore_ascii_case(b"no") {
                    return Err("argument must be 'yes' or 'no'".into());
                }
                set(config, yes);
            }
            ValueType::Integer { min, max, set, .. } => {
                let number = parse_i64(word)
                    .ok_or(Reason::from("argument couldn't be parsed into an integer"))?;
                if !(*min..=*max).contains(&number) {
                    return Err(between(min, max));
                }
                set(config, number);
            }
            ValueType::Memory { min, max, set, .. } => {
                let bytes =
                    parse_memory(word).ok_or(Reason::from("argument must be a memory value"))?;
                if !(*min..=*max).contains(&bytes) {
                    return Err(between(min, max));
                }
                set(config, bytes);
            }
            ValueType::Choice { words, set, .. } => {
                let chosen = words
                    .iter()
                    .position(|choice| word.eq_ignore_ascii_case(choice.as_bytes()))
                    .ok_or_else(|| one_of(words))?;
                set(config, chosen);
            }
            ValueType::Text { set, .. } => set(config, word)?,
            ValueType::Words { set, .. } => set(config, &[word.to_vec()])?,
        }
        Ok(())
    }

    /// What an error at start proposes; empty where the reason says it all.
    pub fn expects(&self) -> String {
        match &self.value {
            ValueType::Bool { .. } => "yes or no".to_owned(),
            ValueType::Integer { min, max, .. } => format!("an integer from {min} to {max}"),
            ValueType::Memory { min, max, .. } => {
                let (min, max) = (format_memory(*min), format_memory(*max));
                format!("bytes from {min} to {max}; units k, kb, m, mb, g, gb")
            }
            ValueType::Choice { words, .. } => words.join(", "),
            ValueType::Text { what, .. } | ValueType::Words { what, .. } => (*what).to_owned(),
        }
    }
}

pub const WRONG_NUMBER: &str = "wrong number of arguments";

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn between(min: impl std::fmt::Display, max: impl std::fmt::Display) -> Reason {
    format!("argument must be between {min} and {max} inclusive").into()
}

fn one_of(words: &[&str]) -> Reason {
    let words = words.join(", ");
    format!("argument(s) must be one of the following: {words}").into()
}

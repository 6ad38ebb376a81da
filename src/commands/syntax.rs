//! Reads the notation in which rows describe their arguments.
//!
//! ```text
//! key value [NX | XX] [EX seconds | PX milliseconds] [WEIGHTS weight [weight ...]]
//! ```
//!
//! Capital words are tokens, others are arguments; `[ ]` is optional, `< >`
//! groups, `|` separates alternatives, and what is repeated in brackets before
//! `...` may be given several times. From it COMMAND DOCS derives its
//! `arguments`.
//!
//! The reader is total: whatever it is given it ends, and a test reads every
//! row's notation.

/// One argument, as COMMAND DOCS describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Argument {
    pub name: String,
    pub kind: ArgumentType,
    pub token: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    /// The token is repeated with each value.
    pub multiple_token: bool,
    /// Parts of a block, alternatives of a choice.
    pub parts: Vec<Argument>,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArgumentType {
    #[default]
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentType {
    /// The word of COMMAND DOCS.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

/// The arguments of a row. `has_keys`: arguments called as keys are keys.
pub fn arguments(syntax: &'static str, has_keys: bool) -> Vec<Argument> {
    let mut reader = Reader {
        words: words(syntax),
        at: 0,
        has_keys,
    };
    let mut sequence = Vec::new();
    while reader.at < reader.words.len() {
        sequence.extend(reader.sequence());
        reader.at += 1; // a closing bracket too many, or `|` outside of any
    }
    sequence
}

/// Cuts the notation at blanks and brackets.
fn words(syntax: &'static str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for mut text in syntax.split_whitespace() {
        while !text.is_empty() {
            let is_mark = |c: char| "[]<>|".contains(c);
            let end = match text.find(is_mark) {
                Some(0) => 1,
                Some(end) => end,
                None => text.len(),
            };
            let (word, rest) = text.split_at(end);
            words.push(word);
            text = rest;
        }
    }
    words
}

struct Reader {
    words: Vec<&'static str>,
    at: usize,
    has_keys: bool,
}

impl Reader {
    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// Arguments up to a closing bracket, a `|` or the end.
    fn sequence(&mut self) -> Vec<Argument> {
        let mut sequence: Vec<Argument> = Vec::new();
        while let Some(word) = self.peek() {
            match word {
                "]" | ">" | "|" => break,
                "[" if self.repeats(&mut sequence) => {}
                "[" => {
                    self.at += 1;
                    let mut argument = self.group("]");
                    argument.optional = true;
                    sequence.push(argument);
                }
                "<" => {
                    self.at += 1;
                    let argument = self.group(">");
                    sequence.push(argument);
                }
                _ => {
                    let argument = self.word();
                    sequence.push(argument);
                }
            }
        }
        sequence
    }

    /// `a b [a b ...]`: turns the end of `sequence` into a multiple argument.
    fn repeats(&mut self, sequence: &mut Vec<Argument>) -> bool {
        let Some(len) = self.words[self.at..].iter().position(|word| *word == "...") else {
            return false;
        };
        let inner = &self.words[self.at + 1..self.at + len];
        // What is repeated is what stands right before the bracket.
        let before = &self.words[..self.at];
        if inner.is_empty() || !before.ends_with(inner) {
            return false;
        }
        let tokens = inner.iter().filter(|word| is_token(word)).count();
        let parts = inner.len() - tokens;
        // In `ID id [id ...]` the token was read as part of the last argument.
        let parts = if parts > sequence.len() { 1 } else { parts };
        let mut repeated = sequence.split_off(sequence.len().saturating_sub(parts));
        let argument = match (repeated.pop(), repeated.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                repeated.extend(last);
                block(repeated)
            }
        };
        sequence.push(Argument {
            multiple: true,
            multiple_token: tokens > 0,
            ..argument
        });
        self.at += len + 1;
        self.take("]");
        true
    }

    /// What stands in a pair of brackets, the opening one already taken.
    fn group(&mut self, close: &str) -> Argument {
        let mut choices = vec![self.sequence()];
        while self.take("|") {
            choices.push(self.sequence());
        }
        self.take(close);
        let mut choices: Vec<Argument> = choices.into_iter().map(single).collect();
        if choices.len() == 1 {
            return choices.pop().unwrap_or_default();
        }
        let name = join(&choices);
        Argument {
            name,
            kind: ArgumentType::OneOf,
            parts: choices,
            ..Argument::default()
        }
    }

    /// A word: an argument, or a token with the argument that follows it.
    fn word(&mut self) -> Argument {
        let word = self.words[self.at];
        self.at += 1;
        if !is_token(word) {
            return Argument {
                name: word.trim_matches('"').to_owned(),
                kind: self.kind_of(word),
                ..Argument::default()
            };
        }
        let follows = self.peek();
        let takes_value = follows.is_some_and(|next| !is_token(next) && !"[]>|".contains(next));
        if !takes_value {
            return Argument {
                name: word.to_ascii_lowercase(),
                kind: ArgumentType::PureToken,
                token: Some(word),
                ..Argument::default()
            };
        }
        let mut values = Vec::new();
        if self.take("<") {
            values.push(self.group(">"));
        }
        while let Some(next) = self.peek() {
            if is_token(next) || "[]<>|".contains(next) {
                break;
            }
            values.push(self.word());
        }
        Argument {
            token: Some(word),
            ..single(values)
        }
    }

    fn kind_of(&self, word: &str) -> ArgumentType {
        const KEYS: &[&str] = &[
            "key",
            "newkey",
            "destkey",
            "source",
            "destination",
            "key1",
            "key2",
        ];
        const INTEGERS: &[&str] = &[
            "bit",
            "client-id",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "index",
            "index1",
            "index2",
            "min-match-len",
            "milliseconds",
            "numkeys",
            "offset",
            "protover",
            "seconds",
            "start",
            "timeout",
        ];
        match word {
            _ if self.has_keys && KEYS.contains(&word) => ArgumentType::Key,
            _ if INTEGERS.contains(&word) => ArgumentType::Integer,
            "pattern" => ArgumentType::Pattern,
            "increment" => ArgumentType::Integer,
            "float" => ArgumentType::Double,
            _ if word.starts_with("unix-time") => ArgumentType::UnixTime,
            _ => ArgumentType::String,
        }
    }
}

/// A token is written in capitals; digits and signs occur in both.
fn is_token(word: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic();
    word.bytes().any(letter) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Several arguments as one.
fn single(mut sequence: Vec<Argument>) -> Argument {
    match sequence.len() {
        1 => sequence.pop().unwrap_or_default(),
        _ => block(sequence),
    }
}

fn block(parts: Vec<Argument>) -> Argument {
    Argument {
        name: join(&parts),
        kind: ArgumentType::Block,
        parts,
        ..Argument::default()
    }
}

fn join(parts: &[Argument]) -> String {
    let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
    names.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per argument: `name:type`, the token, `?` optional, `*` multiple.
    fn show(arguments: &[Argument]) -> String {
        let show_one = |argument: &Argument| {
            let mut text = format!("{}:{}", argument.name, argument.kind.as_str());
            if let Some(token) = argument.token {
                text.push_str(&format!("={token}"));
            }
            text.extend(argument.optional.then_some('?'));
            text.extend(argument.multiple.then_some('*'));
            text.extend(argument.multiple_token.then_some('+'));
            if !argument.parts.is_empty() {
                text.push_str(&format!("({})", show(&argument.parts)));
            }
            text
        };
        arguments.iter().map(show_one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn notation() {
        for (syntax, expected) in [
            ("", ""),
            ("key", "key:key"),
            ("[message]", "message:string?"),
            ("key [key ...]", "key:key*"),
            (
                "key value [key value ...]",
                "key_value:block*(key:key value:string)",
            ),
            (
                "key value [NX | XX] [GET] [EX seconds | KEEPTTL]",
                "key:key value:string nx_xx:oneof?(nx:pure-token=NX xx:pure-token=XX) \
                 get:pure-token=GET? \
                 seconds_keepttl:oneof?(seconds:integer=EX keepttl:pure-token=KEEPTTL)",
            ),
            (
                "[TYPE <NORMAL | MASTER>] [ID client-id [client-id ...]]",
                "normal_master:oneof=TYPE?(normal:pure-token=NORMAL master:pure-token=MASTER) \
                 client-id:integer=ID?*",
            ),
            (
                "[protover [AUTH username password] [SETNAME clientname]]",
                "protover_username_password_clientname:block?(protover:integer \
                 username_password:block=AUTH?(username:string password:string) \
                 clientname:string=SETNAME?)",
            ),
            ("[GET pattern [GET pattern ...]]", "pattern:pattern=GET?*+"),
            ("[command-name [command-name ...]]", "command-name:string?*"),
        ] {
            assert_eq!(show(&arguments(syntax, true)), expected, "{syntax}");
        }
    }

    #[test]
    fn wrong_notation_ends() {
        for syntax in [
            "]", "[", "a | b", "[a", "a]", "...", "[...]", "<|", "A [", "[A <",
        ] {
            arguments(syntax, false);
        }
    }
}

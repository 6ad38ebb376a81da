//! Reads the `syntax` column of the command table, the notation of Redis's
//! documentation: `key value [NX | XX] [EX seconds | PX milliseconds]`.
//!
//! Words in capitals and signs are keywords, other words are placeholders;
//! `[…]` is optional, `<…>` groups, `|` separates alternatives, and `...` at
//! the end of a group means that the group may repeat.

/// A piece of a command's syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Keyword(String),
    Placeholder(String),
    /// One of these sequences.
    Choice(Vec<Vec<Node>>),
    Optional(Box<Node>),
    /// At least once.
    Repeat(Box<Node>),
}

/// Parses a whole syntax string. Panics on brackets that do not match, which
/// is a mistake in the table.
pub fn parse(syntax: &str) -> Vec<Node> {
    let tokens = tokens(syntax);
    let mut at = 0;
    let node = alternatives(&tokens, &mut at, None, syntax);
    match node {
        Node::Choice(mut choices) if choices.len() == 1 => choices.remove(0),
        other => vec![other],
    }
}

/// Cuts at blanks and around brackets and bars.
fn tokens(syntax: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in syntax.chars() {
        if "[]<>|".contains(c) {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.split_whitespace().map(str::to_string).collect()
}

/// Everything up to `closing` (or the end): sequences separated by bars.
fn alternatives(tokens: &[String], at: &mut usize, closing: Option<&str>, syntax: &str) -> Node {
    let mut choices: Vec<Vec<Node>> = vec![Vec::new()];
    let mut repeats = false;
    loop {
        let token = tokens.get(*at).map(String::as_str);
        *at += 1;
        let sequence = choices.last_mut().expect("there is always a sequence");
        match token {
            None if closing.is_none() => break,
            None => panic!("a bracket is not closed in {syntax:?}"),
            token if token == closing => break,
            Some("[") => {
                let inner = alternatives(tokens, at, Some("]"), syntax);
                // `[...]` on its own says no more than that all may repeat.
                if inner == Node::Choice(vec![Vec::new()]) {
                    repeats = true;
                } else {
                    sequence.push(Node::Optional(Box::new(inner)));
                }
            }
            Some("<") => sequence.push(alternatives(tokens, at, Some(">"), syntax)),
            Some("|") => choices.push(Vec::new()),
            Some("...") => repeats = true,
            Some(bracket @ ("]" | ">")) => panic!("a stray {bracket} in {syntax:?}"),
            Some(word) => sequence.push(word_node(word)),
        }
    }
    let node = Node::Choice(choices);
    let empty = node == Node::Choice(vec![Vec::new()]);
    if repeats && !empty {
        Node::Repeat(Box::new(node))
    } else {
        node
    }
}

fn word_node(word: &str) -> Node {
    let keyword = !word.chars().any(|c| c.is_ascii_lowercase());
    let bare = word.trim_matches('"').to_string();
    if keyword {
        Node::Keyword(bare)
    } else {
        Node::Placeholder(bare)
    }
}

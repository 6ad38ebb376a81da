//! Inline requests: words on a line, for people with a terminal.
//!
//! Words are separated by white space. Double quotes take the escapes `\n \r
//! \t \b \a \xHH` and stand for any other escaped byte; single quotes take
//! `\'` only. A closing quote must be followed by white space or the end.

use super::Reply;
use crate::error::ProtocolError;

/// White space of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// The words of `line`.
///
/// # Errors
/// A quote is not closed, or something other than white space follows it.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// The word that begins `rest`, and what follows it. A quote may open in the
/// middle of a word but ends it.
fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    loop {
        match rest {
            // Not the vertical tab nor the form feed: inside a word they are its bytes.
            [] | [b' ' | b'\t' | b'\n' | b'\r', ..] => return Ok((word, rest)),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let tail = quoted(*quote, tail, &mut word)?;
                return match tail.first() {
                    Some(byte) if !is_space(*byte) => Err(ProtocolError::UnbalancedQuotes),
                    _ => Ok((word, tail)),
                };
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Appends what stands before the closing `quote` to `word` and returns what
/// follows it.
fn quoted<'a>(
    quote: u8,
    mut rest: &'a [u8],
    word: &mut Vec<u8>,
) -> Result<&'a [u8], ProtocolError> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [byte, tail @ ..] if *byte == quote => return Ok(tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => (b'\'', tail),
            [b'\\', b'x', high, low, tail @ ..] if quote == b'"' && is_hex(*high, *low) => {
                (hex(*high, *low), tail)
            }
            [b'\\', byte, tail @ ..] if quote == b'"' => (unescape(*byte), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn is_hex(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}

/// The byte two hexadecimal digits stand for.
fn hex(high: u8, low: u8) -> u8 {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte & 15,
        letter => (letter & 7).wrapping_add(9),
    };
    digit(high) << 4 | digit(low)
}

/// The words as a RESP array of bulk strings.
pub fn as_array(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, super::Protocol::Resp2);
    reply.array(words.len());
    for word in words {
        reply.bulk(word);
    }
    out
}

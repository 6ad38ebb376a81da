//! The notation of configuration lines: words, quotes, memory sizes.
//!
//! Everything here is a pure function on bytes. The notation is that of
//! redis.conf: words are separated by white space, a word may stand in double
//! quotes (with `\n`, `\r`, `\t`, `\a`, `\b`, `\xHH`, `\"`, `\\`) or in single
//! quotes (with `\'`), and a closing quote ends its word.

use super::Reason;
use std::path::{Path, PathBuf};

/// Splits a line into words, or nothing when its quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        words.push(word);
    }
    Some(words)
}

/// Appends the first word of `rest` to `word` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [byte, ..] if byte.is_ascii_whitespace() => return Some(rest),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let tail = take_quoted(*quote, tail, word)?;
                let ends = tail.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some(tail);
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Appends what stands before the closing `quote` and returns what follows it.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [byte, tail @ ..] if *byte == quote => return Some(tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => (b'\'', tail),
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_digit(*high) << 4 | hex_digit(*low), tail)
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        other => other,
    }
}

/// `digit` must be a hexadecimal digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The word in double quotes, printable ASCII only; [`split`] reads it back.
pub fn quote(word: &[u8]) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for byte in word {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
];

/// A number of bytes with an optional unit, in any case: `512mb`, `1g`, `100`.
///
/// Redis reads no digits as zero and takes what is too large for the largest
/// number; both are kept, the range check that follows names the limits.
pub fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = word.split_at(digits);
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name.as_bytes()))?;
    let number = digits.iter().fold(0u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(number.saturating_mul(*factor))
}

/// The shortest exact notation: `512mb`, `1gb`, `1000`.
pub fn format_memory(bytes: u64) -> String {
    [("gb", 1u64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)]
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// What the operating system calls the failure, without Rust's "(os error N)".
pub fn os_reason(error: &std::io::Error) -> Reason {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned().into(),
        None => text.into(),
    }
}

pub fn bytes_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

pub fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let text = |word: Vec<u8>| String::from_utf8(word).unwrap();
        Some(split(line.as_bytes())?.into_iter().map(text).collect())
    }

    #[test]
    fn splits_words_and_quotes() {
        assert_eq!(words("  a  b\tc ").unwrap(), ["a", "b", "c"]);
        assert_eq!(words(r#"a "b c" 'd "e'"#).unwrap(), ["a", "b c", "d \"e"]);
        assert_eq!(words(r#""\x41\n\"" '\'x'"#).unwrap(), ["A\n\"", "'x"]);
        assert_eq!(words(r#"ab"c d""#).unwrap(), ["abc d"]);
        assert_eq!(words(r#""""#).unwrap(), [""]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn refuses_unbalanced_quotes() {
        for line in ["\"a", "'a", "\"a\"b", "\"a\\", "'a\\'", "\"\\x4"] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn quote_is_read_back() {
        let every: Vec<u8> = (0..=255).collect();
        for word in [&every[..], b"", b"plain", b"'\"\\"] {
            let quoted = quote(word);
            assert!(quoted.is_ascii());
            assert_eq!(split(quoted.as_bytes()).unwrap(), [word]);
        }
    }

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("1b", 1),
            ("1k", 1000),
            ("1kB", 1024),
            ("1M", 1_000_000),
            ("512mb", 512 << 20),
            ("1g", 1_000_000_000),
            ("1GB", 1 << 30),
            ("", 0),
            ("99999999999999999999gb", u64::MAX),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for bad in ["-1", "1tb", "1.5g", "1 kb", " 1", "10%"] {
            assert_eq!(parse_memory(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn memory_is_written_as_read() {
        for bytes in [0, 1, 1000, 1 << 10, 3 << 20, 5 << 30, (1 << 30) + 1] {
            assert_eq!(parse_memory(format_memory(bytes).as_bytes()), Some(bytes));
        }
        assert_eq!(format_memory(536_870_912), "512mb");
    }
}

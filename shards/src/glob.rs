//! Glob patterns as KEYS, SCAN, CONFIG GET and PSUBSCRIBE know them.
//!
//! `*` any bytes, `?` one byte, `[a-c]` and `[^a-c]` one byte of a class, `\`
//! takes the next byte literally. The matcher is iterative: besides the two
//! positions it keeps the last `*` only, because every other element matches
//! exactly one byte and so an earlier `*` never needs to give way again. Its
//! cost is at most pattern length × text length.

/// Whether `pattern` matches the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte)
}

/// As [`matches`], taking upper and lower case ASCII letters for the same.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn run(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // What follows the last `*`, and the first byte that it has not swallowed.
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            if after.is_empty() {
                return true;
            }
            star = Some((after, at));
            rest = after;
            continue;
        }
        let Some(byte) = text.get(at) else {
            return rest.is_empty();
        };
        if let Some(after) = match_one(rest, *byte, fold) {
            rest = after;
            at += 1;
            continue;
        }
        let Some((after, swallowed)) = star else {
            return false;
        };
        star = Some((after, swallowed + 1));
        (rest, at) = (after, swallowed + 1);
    }
}

/// Matches one byte with the first element of `pattern`, which is no `*`, and
/// returns what follows the element.
fn match_one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<&[u8]> {
    let same = |other: u8| fold(other) == fold(byte);
    let (matched, after) = match pattern {
        [] => return None,
        [b'?', after @ ..] => (true, after),
        [b'[', class @ ..] => match_class(class, byte, fold),
        [b'\\', literal, after @ ..] => (same(*literal), after),
        [literal, after @ ..] => (same(*literal), after),
    };
    matched.then_some(after)
}

/// Matches `byte` with the class that begins behind `[`. A class that is not
/// closed ends with the pattern, as in Redis.
fn match_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, &[u8]) {
    let byte = fold(byte);
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => return (found != negated, rest),
            [b']', after @ ..] => return (found != negated, after),
            [b'\\', literal, after @ ..] => {
                found |= fold(*literal) == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (fold(*from), fold(*to));
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                after
            }
            [literal, after @ ..] => {
                found |= fold(*literal) == byte;
                after
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x", "x", false),
            ("[a", "a", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[a\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(matches_ignoring_case(b"a[B-C]*", b"AbZ"));
    }

    /// Redis 7 gives up beyond a thousand.
    #[test]
    fn no_number_of_stars_is_too_many() {
        let text = vec![b'x'; 60_000];
        assert!(matches(&b"*?".repeat(50_000), &text));
        assert!(matches(&b"*?".repeat(60_000), &text));
        assert!(!matches(&b"*?".repeat(60_001), &text));
        assert!(matches(&b"*x".repeat(50_000), &text));
        assert!(!matches(&[&b"*?".repeat(50_000)[..], b"y"].concat(), &text));
    }

    /// The definition, by recursion.
    fn twin(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', after @ ..] => (0..=text.len()).any(|at| twin(after, &text[at..])),
            _ => text.split_first().is_some_and(|(byte, tail)| {
                match_one(pattern, *byte, |b| b).is_some_and(|after| twin(after, tail))
            }),
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?\\[\\]^-]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(matches(pattern, text), twin(pattern, text));
        }
    }
}

//! Requests as lines of text, quoted as in redis-cli.

/// Cuts at blanks; within double quotes `\n \r \t \\ \" \xHH` stand for bytes,
/// and `{n*text}` outside of quotes for a repetition, `{1..9}` for nine words.
pub fn split(line: &str) -> Vec<Vec<u8>> {
    let bytes = line.as_bytes();
    let mut request = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let mut word = Vec::new();
        if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                let (byte, length) = unescape(&bytes[at..]);
                word.push(byte);
                at += length;
            }
            at += 1;
        } else {
            let end = bytes[at..].iter().position(|byte| *byte == b' ');
            let end = end.map_or(bytes.len(), |length| at + length);
            let written = &line[at..end];
            at = end;
            if let Some(numbers) = numbers(written) {
                request.extend(numbers.map(|number| number.to_string().into_bytes()));
                continue;
            }
            word = repeated(written);
        }
        request.push(word);
    }
    request
}

fn unescape(bytes: &[u8]) -> (u8, usize) {
    match bytes {
        [b'\\', b'x', high, low, ..] => {
            let digits = [*high, *low];
            let digits = std::str::from_utf8(&digits).expect("hex digits are ASCII");
            (
                u8::from_str_radix(digits, 16).expect("two hex digits follow \\x"),
                4,
            )
        }
        [b'\\', b'n', ..] => (b'\n', 2),
        [b'\\', b'r', ..] => (b'\r', 2),
        [b'\\', b't', ..] => (b'\t', 2),
        [b'\\', other, ..] => (*other, 2),
        _ => (bytes[0], 1),
    }
}

/// What `{first..last}` stands for.
fn numbers(word: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let inner = word.strip_prefix('{')?.strip_suffix('}')?;
    let (first, last) = inner.split_once("..")?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn repeated(word: &str) -> Vec<u8> {
    let parts = word
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}')?.split_once('*'));
    match parts.map(|(count, text)| (count.parse::<usize>(), text)) {
        Some((Ok(count), text)) => text.repeat(count).into_bytes(),
        _ => word.as_bytes().to_vec(),
    }
}

//! Numbers as text, as Redis reads and writes them.

/// A decimal integer as Redis reads it: optional minus, no plus, no leading
/// zeros, no spaces, within i64.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 10^19 < 2^64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// A line of RESP with a number of up to eight digits: `kind`, the number, CR and
/// LF; and its length. Nothing for other numbers.
///
/// All digits are computed at once, in the bytes of a word: pairs of four, of two
/// and of one, from products with what is almost a power of two over a power of ten
/// (Paul Khuong, "How to print integers really fast", 2017).
#[inline]
pub fn number_line(kind: u8, number: i64) -> Option<([u8; 16], usize)> {
    const DIGITS: u64 = 0x3030_3030_3030_3030;
    let number = u64::try_from(number).ok().filter(|it| *it < 100_000_000)?;
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7F_0000_007F;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    let ones = tens | ((twos - 10 * tens) << 8);
    // The first digit is in the lowest byte. Zero has one digit, too.
    let leading = (ones.trailing_zeros() / 8).min(7);
    let digits = u128::from((ones | DIGITS) >> (8 * leading));
    let count = 8 - leading;
    let line = u128::from(kind) | (digits << 8) | (0x0A0D << (8 + 8 * count));
    Some((line.to_le_bytes(), count as usize + 3))
}

/// A floating-point number as C reads one: decimal or hexadecimal, `inf`, `nan`;
/// all of `text`, and no space before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Float {
    pub value: f64,
    /// Too large to be finite, or too small to be told from zero.
    pub out_of_range: bool,
}

/// See [`Float`].
pub fn parse_float(text: &[u8]) -> Option<Float> {
    if text.len() < 16
        && let Some(number) = parse_i64(text)
    {
        return Some(Float {
            value: number as f64,
            out_of_range: false,
        });
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if let [b'0', b'x' | b'X', rest @ ..] = digits {
        let (value, is_zero) = parse_hex_float(rest)?;
        return Some(Float {
            value: if negative { -value } else { value },
            out_of_range: value.is_infinite() || value == 0.0 && !is_zero,
        });
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let mantissa = digits
        .iter()
        .take_while(|byte| !matches!(byte, b'e' | b'E'));
    let is_zero = || !mantissa.clone().any(|byte| matches!(byte, b'1'..=b'9'));
    let has_digits = mantissa.clone().any(u8::is_ascii_digit);
    Some(Float {
        value,
        out_of_range: has_digits && (value.is_infinite() || value == 0.0 && !is_zero()),
    })
}

/// What follows `0x`; and whether it is written as zero.
fn parse_hex_float(text: &[u8]) -> Option<(f64, bool)> {
    let end = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (mantissa, exponent) = match end {
        Some(at) => (text.get(..at)?, exponent(text.get(at + 1..)?)?),
        None => (text, 0),
    };
    let (mut value, mut scale, mut seen, mut point): (u64, i64, bool, bool) =
        (0, exponent, false, false);
    for byte in mantissa {
        if *byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        seen = true;
        scale -= if point { 4 } else { 0 };
        if value >> 58 == 0 {
            value = value << 4 | u64::from(digit);
        } else {
            // More than a float holds: only whether it is zero matters.
            value |= u64::from(digit != 0);
            scale += 4;
        }
    }
    // Beyond this nothing changes any more; in two steps, as one may overflow.
    let scale = scale.clamp(-2200, 2200) as i32;
    let value_f64 = value as f64 * 2f64.powi(scale / 2) * 2f64.powi(scale - scale / 2);
    let value_f64 = if value == 0 { 0.0 } else { value_f64 };
    seen.then_some((value_f64, value == 0))
}

/// A decimal exponent with an optional sign; a huge one is cut.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0i64, |number, byte| {
        (number * 10 + i64::from(byte - b'0')).min(1_000_000)
    });
    Some(if negative { -number } else { number })
}

/// The text of a floating-point number; see [`float_text`].
#[derive(Clone, Copy, Debug)]
pub struct FloatText {
    bytes: [u8; 32],
    len: usize,
}

impl FloatText {
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn push_zeros(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(b"0"));
    }
}

/// A floating-point number as Redis 7.2 writes a score: the shortest digits that
/// lead back to it; plain up to 2^52 or six zeros, else with an exponent.
pub fn float_text(value: f64) -> FloatText {
    let mut text = FloatText {
        bytes: [0; 32],
        len: 0,
    };
    if !value.is_finite() {
        text.push(match value {
            f64::INFINITY => b"inf",
            f64::NEG_INFINITY => b"-inf",
            _ => b"nan",
        });
        return text;
    }
    if value.trunc() == value && value.abs() < 4_503_599_627_370_496.0 {
        if value == 0.0 && value.is_sign_negative() {
            text.push(b"-");
        }
        // Lossless: checked just now.
        text.push(itoa::Buffer::new().format(value as i64).as_bytes());
        return text;
    }
    if value < 0.0 {
        text.push(b"-");
    }
    let mut buffer = zmij::Buffer::new();
    let (digits, count, last) = decimal(buffer.format_finite(value.abs()));
    write_decimal(&mut text, digits.get(..count).unwrap_or_default(), last);
    text
}

/// Digits without zeros at either end, their count, and the power of ten of the
/// last one.
fn decimal(text: &str) -> ([u8; 32], usize, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().unwrap_or(0);
    let (mut digits, mut count, mut point) = ([0; 32], 0, false);
    for byte in mantissa.bytes() {
        if byte == b'.' {
            point = true;
            continue;
        }
        exponent -= i32::from(point);
        if (count > 0 || byte != b'0')
            && let Some(digit) = digits.get_mut(count)
        {
            *digit = byte;
            count += 1;
        }
    }
    while count > 1 && digits.get(count - 1) == Some(&b'0') {
        count -= 1;
        exponent += 1;
    }
    (digits, count, exponent)
}

fn write_decimal(text: &mut FloatText, digits: &[u8], last: i32) {
    // Lossless: at most 17.
    let count = digits.len() as i32;
    // The power of ten of the first digit.
    let first = last + count - 1;
    if last >= 0 && first < count + 7 {
        text.push(digits);
        text.push_zeros(last.unsigned_abs() as usize);
    } else if last < 0 && (last > -7 || first.abs() < 4) {
        if first < 0 {
            text.push(b"0.");
            text.push_zeros((-first - 1).unsigned_abs() as usize);
            text.push(digits);
        } else {
            let (whole, rest) = digits.split_at(first.unsigned_abs() as usize + 1);
            text.push(whole);
            text.push(b".");
            text.push(rest);
        }
    } else {
        let (whole, rest) = digits.split_at(1);
        text.push(whole);
        if !rest.is_empty() {
            text.push(b".");
            text.push(rest);
        }
        text.push(if first < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(first.abs()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_numbers_are_what_formatting_says() {
        let powers = (0..9).map(|power| 10i64.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power / 3]);
        for number in around
            .chain(0..20_000)
            .chain((0..100_000_000).step_by(9_973))
        {
            let line = number_line(b':', number);
            let line = line.map(|(line, len)| line[..len].to_vec());
            let formatted = format!(":{number}\r\n").into_bytes();
            let few = (0..100_000_000).contains(&number);
            assert_eq!(line, few.then_some(formatted), "{number}");
        }
        assert_eq!(number_line(b':', i64::MIN), None);
    }

    #[test]
    fn floats_are_read_as_c_reads_them() {
        let read = |text: &str| parse_float(text.as_bytes()).map(|float| float.value);
        for (text, value) in [
            ("1", 1.0),
            ("-0", -0.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0x.8", 0.5),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("123456789012345678", 123_456_789_012_345_680.0),
            ("0x1p-1074", 5e-324),
        ] {
            assert_eq!(
                read(text).map(f64::to_bits),
                Some(value.to_bits()),
                "{text}"
            );
        }
        for text in [
            "", " 1", "1 ", "e5", "1e", "0x", "0xg", "0x1p", "--1", "1x", ".",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in ["1e400", "-1e400", "1e-400", "0x1p5000", "0x1p-5000"] {
            assert!(parse_float(text.as_bytes()).unwrap().out_of_range, "{text}");
        }
        for text in ["inf", "0e5", "0.0", "0x0p9999999999", "5e-324"] {
            assert!(
                !parse_float(text.as_bytes()).unwrap().out_of_range,
                "{text}"
            );
        }
    }

    #[test]
    fn floats_are_written_as_redis_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (3.25, "3.25"),
            (-123.456, "-123.456"),
            (1e15, "1000000000000000"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-5, "1.25e-5"),
            (1.234_567_89e-10, "1.23456789e-10"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_text(value).as_bytes(), text.as_bytes());
        }
    }
}

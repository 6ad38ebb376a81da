//! The 80-bit extended floating point of x86, in software.
//!
//! INCRBYFLOAT is defined by what C's `long double` does on x86: a mantissa of
//! 64 bits, exponents to 2^16383, rounding to nearest with ties to even. This
//! is just enough of it: read a number, add, write it with 17 digits after the
//! point. Everything is exact before it is rounded once.
//!
//! ```text
//! value = ± mantissa × 2^exponent      normal: the mantissa's top bit is set
//!                                      subnormal: exponent == EXPONENT_MIN
//! ```
//!
//! Costs: a number as people write them takes a few multiplications; the worst
//! text that is accepted (5119 digits and an exponent near the lowest) some
//! 70,000 divisions of one machine word.

use std::cmp::Ordering;

/// Texts at least this long are no numbers to Redis.
const TEXT_LEN_LIMIT: usize = 5 * 1024;
/// Digits written after the point, before trailing zeros are cut.
const FRACTION_DIGITS: usize = 17;
const FRACTION_SCALE: u128 = 100_000_000_000_000_000;
/// Exponents of the mantissa's lowest bit.
const EXPONENT_MIN: i64 = -16_445;
const EXPONENT_MAX: i64 = 16_320;
/// Written exponents are cut off here: far beyond what can matter to a number
/// of [`TEXT_LEN_LIMIT`] digits, far below what could overflow.
const WRITTEN_EXPONENT_MAX: i64 = 1_000_000;
/// Powers of 5 and 10 that fit a machine word.
const FIVES: u32 = 27;
const TENS: usize = 19;

/// A long double that is a number or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    Finite {
        negative: bool,
        mantissa: u64,
        exponent: i64,
    },
    Infinite {
        negative: bool,
    },
}

impl LongDouble {
    /// Reads what `strtold` reads: decimal, hexadecimal, infinities; all of
    /// `text`. As in Redis, a text of 5120 bytes or more, white space, NaN, and
    /// numbers too large, or so small that they would become zero, are refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_LEN_LIMIT {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite { negative });
        }
        let value = match text {
            [b'0', b'x' | b'X', rest @ ..] => Digits::split(rest, Base::Hex)?.hex(negative),
            _ => Digits::split(text, Base::Ten)?.decimal(negative),
        };
        value.filter(|value| matches!(value, Self::Finite { .. }))
    }

    /// The sum, rounded once. `None`: infinities of opposite signs.
    pub fn add(self, other: Self) -> Option<Self> {
        match (self, other) {
            (
                Self::Finite {
                    negative: sign_a,
                    mantissa: a,
                    exponent: exponent_a,
                },
                Self::Finite {
                    negative: sign_b,
                    mantissa: b,
                    exponent: exponent_b,
                },
            ) => {
                let a = Addend {
                    negative: sign_a,
                    mantissa: a,
                    exponent: exponent_a,
                };
                let b = Addend {
                    negative: sign_b,
                    mantissa: b,
                    exponent: exponent_b,
                };
                Some(if exponent_a >= exponent_b {
                    a.plus(b)
                } else {
                    b.plus(a)
                })
            }
            (Self::Infinite { negative: a }, Self::Infinite { negative: b }) if a != b => None,
            (infinite @ Self::Infinite { .. }, _) | (_, infinite) => Some(infinite),
        }
    }

    /// A thousand times as much, rounded once and then up to an integer. One that
    /// an i64 cannot hold becomes the nearest that it can, or `None` if positive.
    pub fn thousandfold_ceil(self) -> Option<i64> {
        let product = match self {
            Self::Finite {
                negative,
                mantissa,
                exponent,
            } => Self::round(negative, u128::from(mantissa) * 1000, exponent, false),
            infinite @ Self::Infinite { .. } => infinite,
        };
        let (negative, magnitude) = match product {
            Self::Infinite { negative } => (negative, u64::MAX),
            Self::Finite {
                negative,
                mantissa,
                exponent,
            } => {
                let shift = u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX);
                let fits = mantissa == 0 || shift <= mantissa.leading_zeros();
                let magnitude = match exponent {
                    0.. if fits => mantissa.checked_shl(shift).unwrap_or(0),
                    0.. => u64::MAX,
                    _ => {
                        let whole = mantissa.checked_shr(shift).unwrap_or(0);
                        let exact = whole.checked_shl(shift).unwrap_or(0) == mantissa;
                        whole + u64::from(!negative && !exact)
                    }
                };
                (negative, magnitude)
            }
        };
        if negative {
            Some(0i64.checked_sub_unsigned(magnitude).unwrap_or(i64::MIN))
        } else {
            i64::try_from(magnitude).ok()
        }
    }

    /// Whether it is a number.
    pub fn is_finite(&self) -> bool {
        matches!(self, Self::Finite { .. })
    }

    /// As `%.17Lf` writes it, without trailing zeros and without a negative
    /// zero. Infinities are `inf` and `-inf`.
    pub fn to_text(self) -> String {
        let (negative, mantissa, exponent) = match self {
            Self::Infinite { negative } => return if negative { "-inf" } else { "inf" }.into(),
            Self::Finite {
                negative,
                mantissa,
                exponent,
            } => (negative, mantissa, exponent),
        };
        let mut text = String::from(if negative { "-" } else { "" });
        if exponent >= 0 {
            let mut integer = Big(vec![mantissa]);
            integer.shift_left(exponent.unsigned_abs());
            text.push_str(&integer.into_decimal());
        } else {
            // 64 bits times 57 bits: exact in 128.
            let exact = u128::from(mantissa) * FRACTION_SCALE;
            let scaled = shift_right_to_even(exact, exponent.unsigned_abs());
            let (integer, fraction) = (scaled / FRACTION_SCALE, scaled % FRACTION_SCALE);
            text.push_str(&format!("{integer}.{fraction:0FRACTION_DIGITS$}"));
            let shortest = text.trim_end_matches('0').trim_end_matches('.').len();
            text.truncate(shortest);
        }
        if text == "-0" { "0".into() } else { text }
    }

    /// Rounds `±(mantissa + something in [0, 1) if sticky) × 2^exponent`.
    fn round(negative: bool, mantissa: u128, exponent: i64, sticky: bool) -> Self {
        if mantissa == 0 {
            return Self::Finite {
                negative,
                mantissa: 0,
                exponent: EXPONENT_MIN,
            };
        }
        // Drop what does not fit 64 bits, and more for a subnormal.
        let bits = i64::from(128 - mantissa.leading_zeros());
        let drop = (bits - 64).max(EXPONENT_MIN - exponent);
        if drop <= 0 {
            // It fits as it is; bring the top bit up, as far as exponents allow.
            let up = (64 - bits).min(exponent - EXPONENT_MIN);
            return Self::finite(negative, mantissa << up, exponent - up);
        }
        // A sticky tail decides ties only: one more bit below carries it.
        let (mantissa, drop) = match sticky {
            true if bits < 128 => (mantissa << 1 | 1, drop + 1),
            true => (mantissa | 1, drop),
            false => (mantissa, drop),
        };
        let rounded = shift_right_to_even(mantissa, drop.unsigned_abs());
        let exponent = exponent + drop - i64::from(sticky && bits < 128);
        if rounded >> 64 == 0 {
            Self::finite(negative, rounded, exponent)
        } else {
            Self::finite(negative, rounded >> 1, exponent + 1)
        }
    }

    /// `mantissa` fits 64 bits; what is too large becomes infinite.
    fn finite(negative: bool, mantissa: u128, exponent: i64) -> Self {
        match u64::try_from(mantissa) {
            Ok(mantissa) if exponent <= EXPONENT_MAX => Self::Finite {
                negative,
                mantissa,
                exponent,
            },
            _ => Self::Infinite { negative },
        }
    }
}

impl From<i64> for LongDouble {
    /// Exact: 64 bits hold every magnitude.
    fn from(number: i64) -> Self {
        Self::round(number < 0, u128::from(number.unsigned_abs()), 0, false)
    }
}

/// `value / 2^shift` to nearest, ties to even.
fn shift_right_to_even(value: u128, shift: u64) -> u128 {
    if shift == 0 {
        return value;
    }
    if shift > 128 {
        return 0;
    }
    let half = 1u128 << (shift - 1);
    let (quotient, rest) = if shift == 128 {
        (0, value)
    } else {
        (value >> shift, value & (half * 2 - 1))
    };
    match rest.cmp(&half) {
        Ordering::Less => quotient,
        Ordering::Equal => quotient + (quotient & 1),
        Ordering::Greater => quotient + 1,
    }
}

/// A finite number on its way into a sum.
#[derive(Clone, Copy)]
struct Addend {
    negative: bool,
    mantissa: u64,
    exponent: i64,
}

impl Addend {
    /// Room below the mantissa, with one bit left above for the carry.
    const ROOM: u32 = 63;

    /// `smaller` has at most this exponent.
    fn plus(self, smaller: Self) -> LongDouble {
        let a = u128::from(self.mantissa) << Self::ROOM;
        let wide = u128::from(smaller.mantissa) << Self::ROOM;
        let shift = (self.exponent - smaller.exponent).min(127);
        let b = wide >> shift;
        let lost = b << shift != wide;
        let exponent = self.exponent - i64::from(Self::ROOM);
        if self.negative == smaller.negative {
            return LongDouble::round(self.negative, a + b, exponent, lost);
        }
        // Something was cut off below b, so the difference is a little smaller:
        // one less, and a tail. With a tail, a is far above b.
        match a.cmp(&b) {
            Ordering::Less => LongDouble::round(smaller.negative, b - a, exponent, false),
            Ordering::Equal => LongDouble::round(false, 0, exponent, false),
            Ordering::Greater => {
                LongDouble::round(self.negative, a - b - u128::from(lost), exponent, lost)
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Ten,
    Hex,
}

/// The digits of a number without its point, and the exponent that follows.
struct Digits {
    /// Values of the digits from the first one that is not zero.
    digits: Vec<u8>,
    /// How many of them stand behind the point.
    behind_point: i64,
    /// Power of ten, or of two for hexadecimal.
    exponent: i64,
}

impl Digits {
    fn split(text: &[u8], base: Base) -> Option<Self> {
        let mut parts = Self {
            digits: Vec::new(),
            behind_point: 0,
            exponent: 0,
        };
        let (mut any, mut point) = (false, false);
        let mut rest = text;
        while let [byte, tail @ ..] = rest {
            match (digit(*byte, base), byte) {
                (Some(digit), _) => {
                    any = true;
                    parts.behind_point += i64::from(point);
                    if digit != 0 || !parts.digits.is_empty() {
                        parts.digits.push(digit);
                    }
                }
                (None, b'.') if !point => point = true,
                _ => break,
            }
            rest = tail;
        }
        let mark = if base == Base::Hex { b'p' } else { b'e' };
        match rest {
            [] => {}
            [letter, tail @ ..] if letter.eq_ignore_ascii_case(&mark) => {
                parts.exponent = exponent(tail)?;
            }
            _ => return None,
        }
        any.then_some(parts)
    }

    /// `None`: a number that is not zero would become zero.
    fn hex(self, negative: bool) -> Option<LongDouble> {
        let mut big = Big(vec![]);
        for digit in &self.digits {
            big.shift_left(4);
            big.add_small(u64::from(*digit));
        }
        round_big(negative, &big, self.exponent - 4 * self.behind_point, false)
    }

    /// `None`: a number that is not zero would become zero.
    fn decimal(self, negative: bool) -> Option<LongDouble> {
        let power = self.exponent - self.behind_point;
        // Power of ten just above the first digit.
        let magnitude = power + i64::try_from(self.digits.len()).ok()?;
        if self.digits.is_empty() {
            return Some(LongDouble::round(negative, 0, 0, false));
        }
        if magnitude > 5_000 {
            return Some(LongDouble::Infinite { negative });
        }
        if magnitude < -5_000 {
            return None;
        }
        let mut big = Big::from_decimal(&self.digits);
        if power >= 0 {
            big.multiply_by_power_of_five(power.unsigned_abs());
            return round_big(negative, &big, power, false);
        }
        // Divide by 5^k with at least 66 bits of quotient (5^k < 2^(7k/3 + 1)).
        let fives = power.unsigned_abs();
        let divisor_bits = fives * 7 / 3 + 1;
        let shift = (divisor_bits + 66).saturating_sub(big.bits());
        big.shift_left(shift);
        let sticky = big.divide_by_power_of_five(fives);
        round_big(negative, &big, power - i64::try_from(shift).ok()?, sticky)
    }
}

fn digit(byte: u8, base: Base) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' if base == Base::Hex => Some(byte - b'a' + 10),
        b'A'..=b'F' if base == Base::Hex => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A written exponent, cut off at a million.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0i64;
    for byte in digits {
        let digit = i64::from(digit(*byte, Base::Ten)?);
        exponent = (exponent * 10 + digit).min(WRITTEN_EXPONENT_MAX);
    }
    Some(if negative { -exponent } else { exponent })
}

/// Rounds `(big + a tail if sticky) × 2^exponent`; `None` if that becomes zero
/// and was not.
fn round_big(negative: bool, big: &Big, exponent: i64, sticky: bool) -> Option<LongDouble> {
    let (top, below, tail) = big.top();
    let sticky = sticky || tail;
    let value = LongDouble::round(negative, top, exponent + below, sticky);
    let vanished = matches!(value, LongDouble::Finite { mantissa: 0, .. });
    if vanished && (top != 0 || sticky) {
        None
    } else {
        Some(value)
    }
}

/// A natural number; limbs from the lowest, none of them zero at the top.
struct Big(Vec<u64>);

impl Big {
    fn from_decimal(digits: &[u8]) -> Self {
        let mut big = Self(vec![]);
        for chunk in digits.chunks(TENS) {
            let value = chunk
                .iter()
                .fold(0, |value, digit| value * 10 + u64::from(*digit));
            big.multiply_small(chunk.iter().fold(1, |scale, _| scale * 10));
            big.add_small(value);
        }
        big
    }

    fn bits(&self) -> u64 {
        match self.0.last() {
            None => 0,
            Some(top) => self.0.len() as u64 * 64 - u64::from(top.leading_zeros()),
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn add_small(&mut self, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let (sum, overflow) = limb.overflowing_add(carry);
            *limb = sum;
            carry = u64::from(overflow);
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    fn multiply_small(&mut self, factor: u64) {
        let mut carry = 0u128;
        for limb in &mut self.0 {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = low(carry);
            carry >>= 64;
        }
        if carry != 0 {
            self.0.push(low(carry));
        }
    }

    /// Returns the remainder.
    fn divide_small(&mut self, divisor: u64) -> u64 {
        let mut rest = 0u128;
        for limb in self.0.iter_mut().rev() {
            rest = rest << 64 | u128::from(*limb);
            *limb = low(rest / u128::from(divisor));
            rest %= u128::from(divisor);
        }
        self.trim();
        low(rest)
    }

    fn shift_left(&mut self, bits: u64) {
        if self.0.is_empty() {
            return;
        }
        self.multiply_small(1 << (bits % 64));
        let limbs = usize::try_from(bits / 64).expect("exponents are bounded");
        self.0.splice(..0, std::iter::repeat_n(0, limbs));
    }

    fn multiply_by_power_of_five(&mut self, mut fives: u64) {
        while fives > 0 {
            let step = fives.min(u64::from(FIVES));
            self.multiply_small(5u64.pow(u32::try_from(step).unwrap_or(FIVES)));
            fives -= step;
        }
    }

    /// Whether anything was left over. Dividing in steps and dropping what is
    /// left each time gives the same quotient as dividing once.
    fn divide_by_power_of_five(&mut self, mut fives: u64) -> bool {
        let mut sticky = false;
        while fives > 0 {
            let step = fives.min(u64::from(FIVES));
            sticky |= self.divide_small(5u64.pow(u32::try_from(step).unwrap_or(FIVES))) != 0;
            fives -= step;
        }
        sticky
    }

    /// Its highest bits (at least 65, unless it is shorter), how many bits are
    /// below them, and whether one of those is set.
    fn top(&self) -> (u128, i64, bool) {
        let taken = self.0.len().min(2);
        let (below, top) = self.0.split_at(self.0.len() - taken);
        let mut value = top
            .iter()
            .rev()
            .fold(0, |value, limb| value << 64 | u128::from(*limb));
        let mut tail = below.iter().any(|limb| *limb != 0);
        let mut bits = below.len() as i64 * 64;
        // The top limb may hold one bit only: take some of the third.
        if let Some(third) = below.last()
            && value.leading_zeros() > 0
        {
            let room = value.leading_zeros().min(63);
            value = value << room | u128::from(third >> (64 - room));
            bits -= i64::from(room);
            let lower = below.iter().rev().skip(1).any(|limb| *limb != 0);
            tail = lower || third << room != 0;
        }
        (value, bits, tail)
    }

    fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            chunks.push(self.divide_small(10u64.pow(TENS as u32)));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:0TENS$}"));
        }
        text
    }
}

/// The low word.
#[allow(clippy::cast_possible_truncation)] // that is what it is for
fn low(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_times_as_much_is_rounded_up() {
        for (text, product) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.01", Some(10)),
            ("0.0001", Some(1)),
            ("-0.0001", Some(0)),
            ("-0.5", Some(-500)),
            ("-1.0009", Some(-1000)),
            ("0x0.1", Some(63)),
            ("1e-400", Some(1)),
            ("3e-4951", Some(1)),
            ("9223372036854775.807", Some(i64::MAX)),
            ("9223372036854775.808", None),
            ("0x7FFFFFFFFFFFFF", None),
            ("1e400", None),
            ("-1e400", Some(i64::MIN)),
            ("inf", None),
            ("-inf", Some(i64::MIN)),
        ] {
            let number = LongDouble::parse(text.as_bytes()).unwrap();
            assert_eq!(number.thousandfold_ceil(), product, "{text}");
        }
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        let (a, b) = (
            LongDouble::parse(a.as_bytes())?,
            LongDouble::parse(b.as_bytes())?,
        );
        a.add(b).map(LongDouble::to_text)
    }

    /// Recorded from redis-server 7.0.15 on x86-64, which agreed on 15,000 more.
    #[test]
    fn adds_as_x86_does() {
        for (a, b, expected) in [
            ("0.1", "0.2", "0.3"),
            ("1e17", "0.3", "100000000000000000.296875"),
            ("3.0e3", "200", "3200"),
            ("5", "-5", "0"),
            ("0", "-1e-30", "0"),
            ("1.5", "0x10", "17.5"),
            ("0x1p4", "0x.8", "16.5"),
            (".5", "5.", "5.5"),
            ("-0", "0e999999999999999999999", "0"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("36893488147419103232", "3", "36893488147419103236"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn ends_of_the_range() {
        let large = sum("1e4932", "0").unwrap();
        assert_eq!(
            (large.len(), &large[..22]),
            (4933, "1000000000000000000006")
        );
        assert_eq!(sum("1e4932", "1e4932").as_deref(), Some("inf"));
        assert_eq!(sum("1e4932", "-inf").as_deref(), Some("-inf"));
        assert_eq!(sum("inf", "-inf"), None);
        assert!(LongDouble::parse(b"1e-4950").is_some()); // subnormal
        for text in [
            "1e4933",
            "1e-4952",
            "1e999999999999999999999",
            "-1e-999999999999999",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in [
            "", ".", "abc", " 1", "1 ", "nan", "1e", "1e+", "0x", "0xp1", "1_0", "1,5", "1f",
            "--1", "1..2", "e5", "infinit", "1p5", "1\0", "0x1e5g",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert!(LongDouble::parse("1".repeat(5119).as_bytes()).is_none()); // too large
        assert!(LongDouble::parse(format!("{:05119}", 1).as_bytes()).is_some());
        assert!(LongDouble::parse(format!("{:05120}", 1).as_bytes()).is_none());
    }

    /// With 53 bits of a double there is nothing to round, and Rust's own
    /// formatting is the oracle.
    #[test]
    fn agrees_with_doubles() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..2_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Between 2^-20 and 2^43, and no more than 53 bits in all.
            let double = f64::from_bits(bits >> 12 | (1003 + bits % 63) << 52);
            let text = format!("{double:.60}");
            let exact = format!("{double:.17}");
            let expected = exact.trim_end_matches('0').trim_end_matches('.');
            assert_eq!(sum(&text, "0").as_deref(), Some(expected), "{text}");
        }
    }
}

/// A JSON number exactly as it was written (RFC 8259 §6 grammar).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(Box<str>);

impl Number {
    /// INVARIANT: `text` follows the RFC 8259 §6 grammar; only the parser calls this.
    pub(super) fn from_grammar(text: &str) -> Self {
        Self(text.into())
    }

    /// An integer.
    #[must_use]
    pub fn from_i64(value: i64) -> Self {
        Self(value.to_string().into())
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The exact value, if it is an integer of 64 bits: `100`, `1e2` and `100.0` are all 100; `1.5` and `1e99` are
    /// none.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        i64::try_from(self.scaled(0)?).ok()
    }

    /// The exact value times 10,000, if four decimal places hold it: Cedar's `decimal`.
    #[must_use]
    pub fn as_decimal4(&self) -> Option<i64> {
        i64::try_from(self.scaled(4)?).ok()
    }

    /// The exact value times `10^places`, if that is an integer of at most 128 bits.
    fn scaled(&self, places: i64) -> Option<i128> {
        let (negative, rest) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.0.as_ref()),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            // An exponent that does not fit in an i64 makes the number inexact here, unless the mantissa is zero.
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
            None => (rest, Some(0)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
        while digits.last() == Some(&0) && digits.len() > 1 {
            digits.pop();
        }
        if digits.iter().all(|digit| *digit == 0) {
            return Some(0);
        }
        let dropped = i64::try_from(whole.len() + fraction.len() - digits.len()).ok()?;
        let fraction_places = i64::try_from(fraction.len()).ok()?;
        let shift = exponent?.checked_sub(fraction_places)?.checked_add(dropped)?.checked_add(places)?;
        let mut value: i128 = 0;
        for digit in digits {
            value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        // The last digit is not zero, so a negative shift leaves a fraction.
        let factor = 10i128.checked_pow(u32::try_from(shift).ok()?)?;
        let value = value.checked_mul(factor)?;
        Some(if negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn integers_are_exact_or_nothing() {
        for (text, value) in [
            ("100", Some(100)),
            ("1e2", Some(100)),
            ("100.00", Some(100)),
            ("-0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1.5", None),
            ("1e17", Some(100_000_000_000_000_000)),
            ("1e99", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("1e-1", None),
            ("10e-1", Some(1)),
        ] {
            assert_eq!(Number::from_grammar(text).as_i64(), value, "{text}");
        }
    }

    #[test]
    fn decimals_hold_four_places_or_nothing() {
        for (text, value) in [
            ("999.9999", Some(9_999_999)),
            ("999.99999", None),
            ("1e300", None),
            ("-0.0001", Some(-1)),
            ("12", Some(120_000)),
        ] {
            assert_eq!(Number::from_grammar(text).as_decimal4(), value, "{text}");
        }
    }
}

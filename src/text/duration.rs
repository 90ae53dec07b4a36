//! Durations as people write them: `90s`, `1h30m`, `3d`.

use crate::limits::DURATION_MAX_MS;

/// Why a text is not a duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DurationError {
    /// A number without a unit.
    NoUnit,
    /// Not of the form `90s`, `30m`, `2h`, `3d`, `1h30m`.
    Form,
    /// Zero.
    Zero,
    /// Over ten years.
    TooLong,
}

/// Parses a duration and returns milliseconds, from one second to ten years. The units `d` (24 h),
/// `h`, `m` and `s` are in this order and each is given at most once.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    let mut total_ms: i64 = 0;
    let mut last_unit_ms = i64::MAX;
    let mut rest = text;
    if rest.is_empty() {
        return Err(DurationError::Form);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(DurationError::Form);
        }
        let unit_ms = match rest.as_bytes().get(digits).map(u8::to_ascii_lowercase) {
            Some(b's') => 1_000,
            Some(b'm') => 60_000,
            Some(b'h') => 3_600_000,
            Some(b'd') => 86_400_000,
            Some(_) => return Err(DurationError::Form),
            None => return Err(DurationError::NoUnit),
        };
        if unit_ms >= last_unit_ms {
            return Err(DurationError::Form);
        }
        last_unit_ms = unit_ms;
        // The only error left is overflow.
        let count: i64 = rest[..digits].parse().map_err(|_| DurationError::TooLong)?;
        total_ms = count
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or(DurationError::TooLong)?;
        rest = &rest[digits + 1..];
    }
    match total_ms {
        0 => Err(DurationError::Zero),
        ms if ms > DURATION_MAX_MS => Err(DurationError::TooLong),
        ms => Ok(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        let cases = [
            ("90s", Ok(90_000)),
            ("30m", Ok(1_800_000)),
            ("2h", Ok(7_200_000)),
            ("3d", Ok(259_200_000)),
            ("1h30m", Ok(5_400_000)),
            ("1m1S", Ok(61_000)),
            ("1d1s", Ok(86_401_000)),
            ("3653d", Ok(DURATION_MAX_MS)),
            ("3653d1s", Err(DurationError::TooLong)),
            ("99999999999999999999s", Err(DurationError::TooLong)),
            ("9223372036854775807d", Err(DurationError::TooLong)),
            ("10", Err(DurationError::NoUnit)),
            ("1h30", Err(DurationError::NoUnit)),
            ("0s", Err(DurationError::Zero)),
            ("-5m", Err(DurationError::Form)),
            ("", Err(DurationError::Form)),
            ("m", Err(DurationError::Form)),
            ("30m1h", Err(DurationError::Form)),
            ("1h1h", Err(DurationError::Form)),
            ("1.5h", Err(DurationError::Form)),
            ("2w", Err(DurationError::Form)),
            ("1h ", Err(DurationError::Form)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration_ms(text), expected, "{text:?}");
        }
    }
}

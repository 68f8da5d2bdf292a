//! Numbers as a page or a table writes them.

/// Stands for what was not measured, or is not a number.
pub(crate) const ABSENT: &str = "–";

/// `12,000`: in groups of three digits.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A value, or [`ABSENT`] for one that is not finite.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        ABSENT.to_owned()
    }
}

/// `+1.2` or `−1.2`, with a true minus sign, or [`ABSENT`].
pub(crate) fn signed(value: f64) -> String {
    if value.is_finite() {
        format!("{value:+.1}").replace('-', "−")
    } else {
        ABSENT.to_owned()
    }
}

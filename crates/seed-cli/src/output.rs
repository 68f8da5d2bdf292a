//! Where results go: stdout, or a file that appears whole or not at all.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How scores and comparisons are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A bar on stderr, in indicatif's words; `{rate}` is its steps a second.
pub(crate) fn bar(total: usize, style: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{:.1} it/s", state.per_sec());
    });
    ProgressBar::new(total as u64).with_style(style)
}

/// A table whose first column holds names, and whose others hold figures.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Writes everything to stdout.
pub(crate) fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a file beside its place and renames it; what was there before stays until then.
pub(crate) fn to_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    seed_weights::write_file(path, bytes).map_err(|error| error.to_string())
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that leaves one to four digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(985_894_528), "985,894,528");
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(4_700_000_000), "4.7 GB");
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("codes.json");
        std::fs::create_dir(&place).unwrap();
        assert!(to_file(&place, b"new").unwrap_err().contains("codes.json"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

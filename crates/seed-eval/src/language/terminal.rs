//! The tables for the terminal, at most 120 columns wide unless a set's name is long.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    contents::LanguageReport,
    results::{PromptKind, lengths},
};
use crate::{numbers::thousands, report::terminal::targets, set_name::SetName, share::Share};

/// Columns that names have; more if one is longer.
const NAME: usize = 42;
/// Lengths of what was not well formed that are named.
const LENGTHS: usize = 2;

/// What stands in a column.
enum Cell {
    Share(Share),
    Number(f64, usize),
    Count(usize),
    Lengths(String),
}

impl LanguageReport {
    /// The tables and the targets as plain text; ± is the standard error. Empty if there are none.
    pub fn terminal_table(&self) -> String {
        let tables = [
            captions(self),
            questions(self),
            drawings(self),
            nouns(self),
            code_perplexity(self),
            targets(&self.headlines),
        ];
        let tables: Vec<_> = tables
            .into_iter()
            .filter(|table| !table.is_empty())
            .collect();
        tables.join("\n")
    }
}

fn captions(report: &LanguageReport) -> String {
    let heads = [
        ("exact %", 11),
        ("most freq.", 11),
        ("continuous", 11),
        ("CIDEr", 9),
        ("BLEU-4", 9),
        ("ROUGE-L", 9),
        ("ppl", 9),
    ];
    let mut table = Table::new(&heads);
    for result in &report.captions {
        let cells = [
            Cell::Share(result.exact),
            Cell::Share(result.most_frequent_caption),
            Cell::Share(result.continuous.unwrap_or_default()),
            Cell::Number(result.cider, 2),
            Cell::Number(result.bleu4, 2),
            Cell::Number(result.rouge_l, 2),
            Cell::Number(result.perplexity, 2),
        ];
        table.row(&set(&result.set, result.pictures), &cells);
    }
    table.under("captions (greedy)")
}

fn questions(report: &LanguageReport) -> String {
    let heads = [("right %", 11), ("other picture", 15), ("most freq.", 11)];
    let mut table = Table::new(&heads);
    for result in &report.questions {
        let cells = [
            Cell::Share(result.accuracy),
            Cell::Share(result.other_picture),
            Cell::Share(result.most_frequent_answer),
        ];
        table.row(&set(&result.set, result.questions), &cells);
    }
    table.under("questions")
}

fn drawings(report: &LanguageReport) -> String {
    let heads = [
        ("formed %", 11),
        ("R@1", 11),
        ("R@5", 11),
        ("R@10", 11),
        ("chance", 7),
        ("among", 7),
        ("  malformed", 0),
    ];
    let mut table = Table::new(&heads);
    for kind in PromptKind::ALL {
        let mut results = report
            .drawings
            .iter()
            .filter(|result| result.kind == kind)
            .peekable();
        if results.peek().is_some() {
            table.group(&format!("{kind}: {}", kind.meaning()));
        }
        for result in results {
            let cells = [
                Cell::Share(result.well_formed),
                Cell::Share(result.r1),
                Cell::Share(result.r5),
                Cell::Share(result.r10),
                Cell::Number(result.chance_r1, 2),
                Cell::Count(result.candidates),
                malformed(&result.malformed_lengths),
            ];
            let name = set(&result.set, result.prompts);
            table.row(&format!("  {name}"), &cells);
        }
    }
    table.under("drawings (greedy, no grammar)")
}

fn nouns(report: &LanguageReport) -> String {
    let mut table = Table::new(&[("formed %", 11), ("  malformed", 0)]);
    for result in &report.nouns {
        let cells = [
            Cell::Share(result.well_formed),
            malformed(&result.malformed_lengths),
        ];
        let name = format!("{} ({})", result.decoding, thousands(result.well_formed.of));
        table.row(&name, &cells);
    }
    table.under("nouns: no caption of the corpus")
}

fn code_perplexity(report: &LanguageReport) -> String {
    let mut table = Table::new(&[("codes", 11), ("marks", 11)]);
    for result in &report.code_perplexity {
        let cells = [Cell::Number(result.codes, 1), Cell::Number(result.marks, 2)];
        table.row(&set(&result.set, result.pictures), &cells);
    }
    table.under("perplexity of held-out codes")
}

/// Rows under heads of a width each; a width of 0 is as wide as its text, and stands last.
struct Table<'a> {
    heads: &'a [(&'a str, usize)],
    rows: Vec<(String, Vec<String>)>,
}

impl<'a> Table<'a> {
    fn new(heads: &'a [(&'a str, usize)]) -> Self {
        let rows = Vec::new();
        Self { heads, rows }
    }

    fn row(&mut self, name: &str, cells: &[Cell]) {
        let texts = cells.iter().map(Cell::text).collect();
        self.rows.push((name.to_owned(), texts));
    }

    /// A line of its own over the rows that follow.
    fn group(&mut self, name: &str) {
        self.rows.push((name.to_owned(), Vec::new()));
    }

    /// The whole table; nothing without rows.
    fn under(self, title: &str) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let beside_cells = self.rows.iter().filter(|(_, cells)| !cells.is_empty());
        let longest = beside_cells.map(|(name, _)| name.chars().count()).max();
        let names = longest.map_or(NAME, |longest| NAME.max(longest + 1));
        let heads = self.heads.iter().map(|(head, _)| (*head).to_owned());
        let mut out = String::new();
        for (name, cells) in [(title.to_owned(), heads.collect())]
            .iter()
            .chain(&self.rows)
        {
            let mut line = format!("{name:<names$}");
            for ((_, width), cell) in self.heads.iter().zip(cells) {
                let _ = write!(line, "{cell:>width$}");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

impl Cell {
    /// What was not measured is a hyphen.
    fn text(&self) -> String {
        match self {
            Self::Share(share) if share.is_measured() => {
                format!("{:.1} ±{:.1}", share.percent(), share.standard_error())
            }
            Self::Number(value, decimals) if value.is_finite() => format!("{value:.decimals$}"),
            Self::Share(_) | Self::Number(..) => "-".to_owned(),
            Self::Count(count) => thousands(*count as u64),
            Self::Lengths(lengths) => lengths.clone(),
        }
    }
}

fn malformed(malformed: &BTreeMap<usize, usize>) -> Cell {
    Cell::Lengths(format!("  {}", lengths(malformed, LENGTHS)))
}

fn set(name: &SetName, count: usize) -> String {
    let SetName {
        split,
        source,
        concepts,
    } = name;
    format!("{split} {source}, {concepts} ({})", thousands(count as u64))
}

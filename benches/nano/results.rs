//! From times to what they say: the table, the ratios, the record.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use seed::train::BoxError;
use serde::Serialize;

use super::{
    competitors::Competitor,
    exchange::Spec,
    works::{Answer, Work},
};
use crate::{machine::Machine, median::median};

/// Stage II from the cache must be so many times faster than from pixels.
const CACHE_TARGET: f64 = 5.0;
/// A loader must be so many times faster than the step that it feeds.
const LOADER_TARGET: f64 = 3.0;
/// Share of a training's time that may go by waiting for data.
const WAIT_TARGET: f64 = 0.01;

/// All that a run measured.
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) spec: Spec,
    entries: Vec<(Work, Competitor, Answer)>,
    /// What verification said, one line a work and competitor.
    pub(crate) verified: Vec<String>,
    /// Profiles: whose, and their lines.
    pub(crate) profiles: Vec<(String, Vec<String>)>,
}

/// A record's raw part.
#[derive(Serialize)]
struct Raw<'a> {
    machine: &'a Machine,
    verified: &'a [String],
    answers: BTreeMap<&'a str, BTreeMap<String, &'a Answer>>,
    profiles: BTreeMap<&'a str, &'a [String]>,
    spec: &'a Spec,
}

impl Results {
    pub(crate) fn new(machine: Machine, spec: Spec) -> Self {
        Self {
            machine,
            spec,
            entries: Vec::new(),
            verified: Vec::new(),
            profiles: Vec::new(),
        }
    }

    /// Adds the times of a round to those of the rounds before.
    pub(crate) fn add(&mut self, work: Work, competitor: &Competitor, mut answer: Answer) {
        answer.codes.clear();
        answer.values.clear();
        let known = |(w, c, _): &&mut (Work, Competitor, Answer)| *w == work && c == competitor;
        let Some((_, _, before)) = self.entries.iter_mut().find(known) else {
            self.entries.push((work, competitor.clone(), answer));
            return;
        };
        before.ms.extend(answer.ms);
        let most = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b));
        before.peak_mb = most(before.peak_mb, answer.peak_mb);
        before.base_mb = most(before.base_mb, answer.base_mb);
    }

    fn answer(&self, work: Work, competitor: &Competitor) -> Option<&Answer> {
        let mut entries = self.entries.iter();
        let found = entries.find(|(w, c, _)| *w == work && c == competitor);
        found.map(|(_, _, answer)| answer)
    }

    fn median(&self, work: Work, competitor: &Competitor) -> Option<f64> {
        self.answer(work, competitor)?.median()
    }

    /// What a competitor's time is divided by: PyTorch on the same hardware, else the first device.
    fn reference(&self, work: Work, competitor: &Competitor) -> Option<&Competitor> {
        let of_work = || self.entries.iter().filter(|(w, ..)| *w == work);
        let peer = of_work().find(|(_, c, _)| c.is_peer_of(competitor));
        peer.or_else(|| of_work().next()).map(|(_, c, _)| c)
    }

    /// One row a work and competitor, the first row naming the columns.
    fn rows(&self) -> Vec<[String; 7]> {
        let mut rows = vec![
            [
                "work",
                "on",
                "ms/step (least–most)",
                "images/s",
                "peak MB",
                "of it model",
                "ratio",
            ]
            .map(str::to_owned),
        ];
        for (work, competitor, answer) in &self.entries {
            let Some(ms) = answer.median() else {
                continue;
            };
            let least = answer.ms.iter().copied().fold(f64::INFINITY, f64::min);
            let most = answer.ms.iter().copied().fold(0.0, f64::max);
            let images = work.batch_size(&self.spec) as f64 * 1e3 / ms;
            let mb = |value: Option<f64>| value.map_or("–".to_owned(), |mb| format!("{mb:.0}"));
            let own = answer
                .peak_mb
                .zip(answer.base_mb)
                .map(|(peak, base)| peak - base);
            rows.push([
                work.name().to_owned(),
                competitor.to_string(),
                format!("{ms:.1} ({least:.1}–{most:.1})"),
                format!("{images:.0}"),
                mb(answer.peak_mb),
                mb(own),
                self.ratio(*work, competitor, ms),
            ]);
        }
        rows
    }

    fn ratio(&self, work: Work, competitor: &Competitor, ms: f64) -> String {
        let Some(reference) = self.reference(work, competitor) else {
            return String::new();
        };
        if reference == competitor {
            return "1".to_owned();
        }
        let Some(base) = self.median(work, reference) else {
            return String::new();
        };
        let text = format!("{:.2} × {reference}", ms / base);
        match competitor
            .target()
            .filter(|_| reference.is_peer_of(competitor))
        {
            Some(target) => format!("{text} (≤ {target}: {})", verdict(ms / base <= target)),
            None => text,
        }
    }

    /// The ratios that are no ratio to PyTorch, one a line, each with its target.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.machine.busy() {
            let load = &self.machine.load;
            lines.push(format!(
                "the machine was busy (load {load} before the run): these ratios judge nothing"
            ));
        }
        for (work, competitor, answer) in &self.entries {
            let stage_two = self.median(Work::StageTwo, competitor);
            if let (Work::Uncached, Some(cached), Some(uncached)) =
                (work, stage_two, answer.median())
            {
                let ratio = uncached / cached;
                lines.push(format!(
                    "stage II on {competitor}: from the cache {ratio:.1} × as fast as from pixels \
                     (≥ {CACHE_TARGET}: {})",
                    verdict(ratio >= CACHE_TARGET)
                ));
            }
            for loader in &answer.loaders {
                let waits = format!(
                    "training waited {:.2} % of its time (≤ {} %: {})",
                    100.0 * loader.waited,
                    100.0 * WAIT_TARGET,
                    verdict(loader.waited <= WAIT_TARGET)
                );
                let step = self
                    .entries
                    .iter()
                    .find(|(w, c, _)| w.name() == loader.work && c == competitor);
                let step = step.and_then(|(w, _, a)| Some((*w, a.median()?)));
                let against = step.map_or_else(String::new, |(work, ms)| {
                    let eaten = work.batch_size(&self.spec) as f64 * 1e3 / ms;
                    let ratio = loader.pairs_per_second / eaten;
                    format!(
                        ", {ratio:.1} × what the step on {competitor} consumes (≥ {LOADER_TARGET}: {})",
                        verdict(ratio >= LOADER_TARGET)
                    )
                });
                lines.push(format!(
                    "loader of {} on {competitor}: {:.0} pairs/s alone{against}; {waits}",
                    loader.work, loader.pairs_per_second
                ));
            }
        }
        lines
    }

    /// The table with aligned columns.
    pub(crate) fn table(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| {
                    match column {
                        // Names to the left, numbers to the right, the last column as it comes.
                        0 | 1 => format!("{cell:<width$}"),
                        6 => cell.clone(),
                        _ => format!("{cell:>width$}"),
                    }
                });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// Writes `<date>-<cpu>.md` and its raw `.json`; records of the same day are numbered.
    pub(crate) fn save(&self, folder: &Path) -> Result<PathBuf, BoxError> {
        fs::create_dir_all(folder)?;
        let slug = self.machine.slug();
        let names = std::iter::once(slug.clone()).chain((2..).map(|n| format!("{slug}-{n}")));
        let mut paths = names.map(|name| folder.join(name + ".md"));
        let path = paths.find(|path| !path.exists()).unwrap_or_default();
        let mut answers: BTreeMap<&str, BTreeMap<String, &Answer>> = BTreeMap::new();
        for (work, competitor, answer) in &self.entries {
            let of_work = answers.entry(work.name()).or_default();
            of_work.insert(competitor.to_string(), answer);
        }
        let profiles = self.profiles.iter();
        let raw = Raw {
            machine: &self.machine,
            verified: &self.verified,
            answers,
            profiles: profiles
                .map(|(of, lines)| (of.as_str(), &**lines))
                .collect(),
            spec: &self.spec,
        };
        fs::write(path.with_extension("json"), serde_json::to_string(&raw)?)?;
        fs::write(&path, self.markdown()?)?;
        Ok(path)
    }

    fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = format!("# Nano benchmarks, {}\n\n", self.machine.date);
        for (name, fact) in self.machine.facts() {
            writeln!(text, "- {name}: {fact}")?;
        }
        text.push_str("\n## Times\n");
        for (index, row) in self.rows().iter().enumerate() {
            writeln!(text, "| {} |", row.join(" | "))?;
            if index == 0 {
                text.push_str("|---|---|---|---|---|---|---|\n");
            }
        }
        text.push('\n');
        for line in self.lines() {
            writeln!(text, "- {line}")?;
        }
        text.push_str("\n## Verified before\n");
        for line in &self.verified {
            writeln!(text, "- {line}")?;
        }
        for (of, lines) in &self.profiles {
            writeln!(
                text,
                "\n## Where the time goes: {of}\n```text\n{}\n```",
                lines.join("\n")
            )?;
        }
        Ok(text)
    }
}

impl Answer {
    /// Milliseconds of the middle step, where steps were measured.
    fn median(&self) -> Option<f64> {
        (!self.ms.is_empty()).then(|| median(&self.ms))
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

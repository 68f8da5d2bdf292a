//! From answers to what they say: agreement, ratios, the record.

use std::{fmt::Write, time::Instant};

use seed::{device::DeviceSpec, lm::OptConfig};

use super::{
    Competitor,
    works::{Answer, Kept, Work},
};
use crate::{machine::Machine, median::median};

/// Largest relative difference of losses.
const LOSS: f64 = 1e-4;
/// Largest relative difference of gradient norms. An input of ReLU within rounding of 0 has a gradient in one
/// competitor and none in another, which losses do not show.
const NORM: f64 = 1e-3;

/// What a competitor did in all rounds.
pub(crate) struct Row {
    pub(crate) work: Work,
    pub(crate) competitor: Competitor,
    pub(crate) kept: Kept,
    pub(crate) sizes: OptConfig,
    pub(crate) answer: Answer,
}

/// All that a run measured.
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Bytes a second that a copy reads and writes.
    pub(crate) bandwidth: f64,
    rows: Vec<Row>,
    pub(crate) verified: Vec<String>,
}

/// The same where halves are computed in: nothing to be exact about, but a wrong gradient is further off.
const LOSS_IN_HALVES: f64 = 2e-2;
const NORM_IN_HALVES: f64 = 1e-1;

/// Says how well an answer agrees with PyTorch's in f32; `rounds` says that its numbers are rounded to halves or 8 bits.
pub(crate) fn compare(
    work: Work,
    rounds: bool,
    expected: &Answer,
    found: &Answer,
) -> (bool, String) {
    if work.trains() {
        return compare_steps(expected, found, rounds);
    }
    let pairs = expected.tokens.iter().zip(&found.tokens);
    let equal = pairs.take_while(|(a, b)| a == b).count();
    let all = expected.tokens.len();
    let mut distinct = expected.tokens.clone();
    distinct.sort_unstable();
    distinct.dedup();
    // What follows a token that differs is another text.
    let off = worst(&expected.losses[..equal], &found.losses[..equal]);
    let text = format!(
        "the first {equal} of {all} tokens equal, {} distinct, their log-likelihoods within {off:.0e}",
        distinct.len()
    );
    let agrees = equal == all && off <= LOSS;
    (agrees || rounds, text)
}

/// Losses and gradient norms of the same steps.
fn compare_steps(expected: &Answer, found: &Answer, rounds: bool) -> (bool, String) {
    let (loss, norm) = if rounds {
        (LOSS_IN_HALVES, NORM_IN_HALVES)
    } else {
        (LOSS, NORM)
    };
    let mut parts = vec![format!("{} steps", expected.losses.len())];
    for (name, expected, found, allowed) in [
        ("losses", &expected.losses, &found.losses, loss),
        ("gradient norms", &expected.norms, &found.norms, norm),
    ] {
        let off = worst(expected, found);
        if off > allowed || expected.is_empty() {
            let text = format!("DISAGREES: {name} {found:?} where {expected:?} are expected");
            return (false, text);
        }
        parts.push(format!("{name} within {off:.0e} (allowed {allowed:.0e})"));
    }
    (true, parts.join(", "))
}

/// The largest relative difference of numbers that come in the same order; infinite if one is no number, or missing.
fn worst(expected: &[f64], found: &[f64]) -> f64 {
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let off = |(expected, found): (&f64, &f64)| {
        let off = (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
        if off.is_nan() { f64::INFINITY } else { off }
    };
    expected.iter().zip(found).map(off).fold(0.0, f64::max)
}

/// Bytes that `threads` threads read and write a second by copying; the best of a few times.
pub(crate) fn bandwidth(threads: usize) -> f64 {
    const BYTES: usize = 256 << 20;
    const TIMES: usize = 5;
    let copy = |_| {
        let (from, mut to) = (vec![1u8; BYTES], vec![0u8; BYTES]);
        // Once before the clock runs: the system hands pages out on first use.
        to.copy_from_slice(&from);
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            let begun = Instant::now();
            std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from));
            best = best.min(begun.elapsed().as_secs_f64());
        }
        2.0 * BYTES as f64 / best
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|i| scope.spawn(move || copy(i))).collect();
        let rates = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0.0));
        rates.sum()
    })
}

impl Results {
    pub(crate) fn new(machine: Machine, bandwidth: f64) -> Self {
        Self {
            machine,
            bandwidth,
            rows: Vec::new(),
            verified: Vec::new(),
        }
    }

    /// Adds the times of a round to those of the rounds before.
    pub(crate) fn add(&mut self, row: Row) {
        let same = |known: &&mut Row| {
            (known.work, known.competitor, known.kept) == (row.work, row.competitor, row.kept)
        };
        let Some(known) = self.rows.iter_mut().find(same) else {
            self.rows.push(row);
            return;
        };
        let (known, new) = (&mut known.answer, row.answer);
        known.ms.extend(new.ms);
        known.first_ms.extend(new.first_ms);
        let most = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b));
        known.peak_mb = most(known.peak_mb, new.peak_mb);
        known.base_mb = most(known.base_mb, new.base_mb);
    }

    /// PyTorch's time of the same work, weights kept alike.
    fn peer(&self, row: &Row) -> Option<f64> {
        let alike = |other: &&Row| {
            other.competitor == Competitor::PyTorch
                && (other.work, other.kept) == (row.work, row.kept)
        };
        self.rows
            .iter()
            .find(alike)
            .map(|row| median(&row.answer.ms))
    }

    fn ratio(&self, row: &Row) -> String {
        if row.competitor == Competitor::PyTorch {
            return "1".to_owned();
        }
        let Some(peer) = self.peer(row) else {
            return "–".to_owned();
        };
        let ratio = median(&row.answer.ms) / peer;
        let target = match row.competitor {
            Competitor::Burn(DeviceSpec::Libtorch) => 1.0,
            Competitor::Burn(DeviceSpec::Flex) => 1.5,
            _ => return format!("{ratio:.2}"),
        };
        if !row.work.trains() {
            return format!("{ratio:.2}");
        }
        let verdict = if ratio <= target { "met" } else { "missed" };
        format!("{ratio:.2} (≤ {target}: {verdict})")
    }

    /// Milliseconds that reading all weights of a token takes: linear layers as they are kept, and the table of
    /// words, which the head is, in f32 with us.
    fn bound(&self, row: &Row) -> f64 {
        let sizes = &row.sizes;
        let width = sizes.width as f64;
        let layer = 4.0 * width * width + 2.0 * width * sizes.mlp_hidden as f64;
        let kept = row.kept.bytes();
        let of_table = match (row.competitor, row.kept) {
            (Competitor::PyTorch, Kept::F16 | Kept::Bf16) => kept,
            _ => 4.0,
        };
        let table = (sizes.vocab_size * sizes.embed_width) as f64;
        let bytes = kept * layer * sizes.depth as f64 + of_table * table;
        1e3 * bytes / self.bandwidth
    }

    pub(crate) fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = "# Language model: LoRA steps and decoding\n\n".to_owned();
        for (name, fact) in self.machine.facts() {
            writeln!(text, "- {name}: {fact}")?;
        }
        writeln!(
            text,
            "- memory bandwidth: {:.1} GB/s read and written by a copy",
            self.bandwidth / 1e9
        )?;
        if self.machine.busy() {
            writeln!(
                text,
                "- **something else ran beside it**: read ratios, not times"
            )?;
        }
        let trains = |row: &&Row| row.work.trains();
        if self.rows.iter().any(|row| trains(&row)) {
            text.push_str("\n## Steps of an adapter (rank 16 on every linear layer)\n\n");
            text.push_str(
            "| work | on | weights | ms a step (least–most) | tokens/s | peak MB | of it model | ratio |\n",
        );
            text.push_str("|---|---|---|---|---|---|---|---|\n");
        }
        for row in self.rows.iter().filter(trains) {
            let [rows, length] = row.work.batch();
            let rate = (rows * length) as f64 * 1e3 / median(&row.answer.ms);
            writeln!(
                text,
                "| {} | {} | {} | {} | {rate:.0} | {} | {} |",
                row.work.name(),
                row.competitor,
                row.kept,
                spread(&row.answer.ms),
                memory(&row.answer),
                self.ratio(row)
            )?;
        }
        if self.rows.iter().any(|row| !trains(&row)) {
            text.push_str("\n## Decoding, greedy, one text after a prompt of 32 tokens\n\n");
            text.push_str(
            "| work | on | weights | ms a token (least–most) | tokens/s | of the memory's bound | first token, ms | \
             peak MB | of it model | ratio |\n|---|---|---|---|---|---|---|---|---|---|\n",
            );
        }
        for row in self.rows.iter().filter(|row| !trains(row)) {
            let ms = median(&row.answer.ms);
            let bound = self.bound(row);
            writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} | {:.1} × {bound:.1} ms | {:.0} | {} | {} |",
                row.work.name(),
                row.competitor,
                row.kept,
                spread(&row.answer.ms),
                1e3 / ms,
                ms / bound,
                median(&row.answer.first_ms),
                memory(&row.answer),
                self.ratio(row)
            )?;
        }
        text.push_str("\n## Verified before, against PyTorch in f32\n\n");
        for line in &self.verified {
            writeln!(text, "- {line}")?;
        }
        Ok(text)
    }
}

fn memory(answer: &Answer) -> String {
    let mb = |value: Option<f64>| value.map_or("–".to_owned(), |mb| format!("{mb:.0}"));
    let own = answer.peak_mb.zip(answer.base_mb);
    let own = own.map(|(peak, base)| peak - base);
    format!("{} | {}", mb(answer.peak_mb), mb(own))
}

fn spread(ms: &[f64]) -> String {
    let least = ms.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ms.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({least:.1}–{most:.1})", median(ms))
}

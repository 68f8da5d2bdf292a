//! Is the codebook alive? How many codes are in use, how evenly, and at which positions.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How a tokenizer uses its codebook on a set of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodebookHealth {
    /// Codes in the codebook, K.
    pub size: usize,
    /// Pictures looked at.
    pub pictures: usize,
    /// Codes that occur at least once.
    pub used: usize,
    /// Codes that never occur.
    pub dead: usize,
    /// `used / size`, 0–1.
    pub usage: f64,
    /// `2^entropy` of the code frequencies: the size of an evenly used codebook that says as much, 1–K.
    pub perplexity: f64,
    /// The same at each position of the sequence.
    pub per_position: Vec<PositionHealth>,
    /// Every code in use and how often, the most frequent first; of equals the lower code first.
    pub frequencies: Vec<CodeCount>,
    /// Share of the pictures whose codes are all different from each other, 0–1.
    pub all_distinct: f64,
    /// Different sequences among the pictures; fewer than `pictures` means that some share all their codes.
    pub unique_sequences: usize,
}

/// How one position of the sequence uses the codebook.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PositionHealth {
    /// Codes that occur here.
    pub used: usize,
    /// `2^entropy_bits`.
    pub perplexity: f64,
    /// Entropy of the code frequencies here, in bits.
    pub entropy_bits: f64,
}

/// A code and how often it occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCount {
    /// The code.
    pub code: u32,
    /// Its occurrences.
    pub count: usize,
}

impl CodebookHealth {
    /// Measures codes `[pictures, positions]`, row-major, out of a codebook of `size`.
    ///
    /// # Errors
    /// [`EvalError::Empty`], [`EvalError::CodesShape`], [`EvalError::CodeOutOfRange`].
    pub fn measure(codes: &[u32], positions: usize, size: usize) -> Result<Self, EvalError> {
        check(codes, positions, size)?;
        let pictures = codes.len() / positions;
        let counts = histogram(codes.iter(), size);
        let per_position = (0..positions)
            .map(|position| {
                let counts = histogram(codes.iter().skip(position).step_by(positions), size);
                let entropy_bits = entropy_bits(&counts);
                let used = counts.iter().filter(|&&count| count > 0).count();
                PositionHealth {
                    used,
                    perplexity: entropy_bits.exp2(),
                    entropy_bits,
                }
            })
            .collect();

        let mut frequencies: Vec<_> = (0..)
            .zip(&counts)
            .filter(|&(_, &count)| count > 0)
            .map(|(code, &count)| CodeCount { code, count })
            .collect();
        frequencies.sort_by_key(|entry| std::cmp::Reverse(entry.count));

        let sequences = || codes.chunks_exact(positions);
        let distinct = |codes: &&[u32]| codes.iter().collect::<HashSet<_>>().len() == positions;
        let used = frequencies.len();
        Ok(Self {
            size,
            pictures,
            used,
            dead: size - used,
            usage: used as f64 / size as f64,
            perplexity: entropy_bits(&counts).exp2(),
            per_position,
            frequencies,
            all_distinct: sequences().filter(distinct).count() as f64 / pictures as f64,
            unique_sequences: sequences().collect::<HashSet<_>>().len(),
        })
    }
}

/// A code that several pictures have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCode {
    /// The code.
    pub code: u32,
    /// Where it occurs, in order of pictures; the first position only where a picture has it twice.
    pub uses: Vec<CodeUse>,
}

/// One place where a code occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeUse {
    /// The picture.
    pub picture: usize,
    /// The position in its sequence.
    pub position: usize,
}

/// Up to `wanted` codes worth looking at: codes that `least..=most` pictures share, evenly spaced
/// from the most to the least shared. The codes that nearly all pictures have say little about any.
///
/// # Errors
/// As [`CodebookHealth::measure`].
pub fn shared_codes(
    codes: &[u32],
    positions: usize,
    size: usize,
    pictures: std::ops::RangeInclusive<usize>,
    wanted: usize,
) -> Result<Vec<SharedCode>, EvalError> {
    check(codes, positions, size)?;
    let mut uses: Vec<Vec<CodeUse>> = vec![Vec::new(); size];
    for (picture, sequence) in codes.chunks_exact(positions).enumerate() {
        for (position, &code) in sequence.iter().enumerate() {
            let uses = &mut uses[code as usize];
            if uses.last().is_none_or(|last| last.picture != picture) {
                uses.push(CodeUse { picture, position });
            }
        }
    }
    let mut shared: Vec<_> = (0..)
        .zip(uses)
        .map(|(code, uses)| SharedCode { code, uses })
        .filter(|shared| pictures.contains(&shared.uses.len()))
        .collect();
    shared.sort_by_key(|shared| std::cmp::Reverse(shared.uses.len()));
    let found = shared.len();
    let chosen = wanted.min(found);
    let chosen: HashSet<_> = (0..chosen).map(|i| i * found / chosen).collect();
    let mut at = 0..;
    shared.retain(|_| at.next().is_some_and(|at| chosen.contains(&at)));
    Ok(shared)
}

fn check(codes: &[u32], positions: usize, size: usize) -> Result<(), EvalError> {
    if codes.is_empty() {
        return Err(EvalError::Empty("codes"));
    }
    if positions == 0 || !codes.len().is_multiple_of(positions) {
        return Err(EvalError::CodesShape {
            codes: codes.len(),
            positions,
        });
    }
    match codes.iter().position(|&code| code as usize >= size) {
        None => Ok(()),
        Some(at) => Err(EvalError::CodeOutOfRange {
            picture: at / positions,
            position: at % positions,
            code: codes[at],
            size,
        }),
    }
}

fn histogram<'a>(codes: impl Iterator<Item = &'a u32>, size: usize) -> Vec<usize> {
    let mut counts = vec![0; size];
    for &code in codes {
        counts[code as usize] += 1;
    }
    counts
}

fn entropy_bits(counts: &[usize]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| count as f64 / total)
        .map(|p| p * -p.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn even_use_has_perplexity_k() {
        // 8 pictures of 4 codes; picture p has p, p+1, p+2, p+3 (mod 8): each code 4 times.
        let codes: Vec<u32> = (0..8)
            .flat_map(|p| (0..4).map(move |i| (p + i) % 8))
            .collect();
        let health = CodebookHealth::measure(&codes, 4, 8).unwrap();
        assert_eq!((health.pictures, health.used, health.dead), (8, 8, 0));
        assert_eq!((health.per_position.len(), health.unique_sequences), (4, 8));
        close(health.usage, 1.0);
        close(health.perplexity, 8.0);
        close(health.all_distinct, 1.0);
        for position in &health.per_position {
            assert_eq!(position.used, 8);
            close(position.perplexity, 8.0);
            close(position.entropy_bits, 3.0);
        }
    }

    #[test]
    fn collapse_has_perplexity_one() {
        let health = CodebookHealth::measure(&[5; 12], 4, 16).unwrap();
        assert_eq!(
            (health.used, health.dead, health.unique_sequences),
            (1, 15, 1)
        );
        close(health.usage, 1.0 / 16.0);
        close(health.perplexity, 1.0);
        close(health.all_distinct, 0.0);
        assert_eq!(health.frequencies, [CodeCount { code: 5, count: 12 }]);
    }

    #[test]
    fn uneven_use() {
        // Frequencies 1/2, 1/4, 1/4: 1.5 bits. Positions: always 0; then evenly 1 and 2.
        let health = CodebookHealth::measure(&[0, 1, 0, 2], 2, 4).unwrap();
        close(health.perplexity, 1.5_f64.exp2());
        close(health.per_position[0].perplexity, 1.0);
        close(health.per_position[1].entropy_bits, 1.0);
        let order: Vec<_> = health
            .frequencies
            .iter()
            .map(|f| (f.code, f.count))
            .collect();
        assert_eq!(order, [(0, 2), (1, 1), (2, 1)]);
    }

    #[test]
    fn refuses_what_cannot_be_codes() {
        let error = CodebookHealth::measure(&[0, 1, 2, 9], 2, 8).unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::CodeOutOfRange {
                    picture: 1,
                    position: 1,
                    code: 9,
                    size: 8
                }
            ),
            "{error}"
        );
        let error = CodebookHealth::measure(&[0, 1, 2], 2, 8).unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::CodesShape {
                    codes: 3,
                    positions: 2
                }
            ),
            "{error}"
        );
        assert!(matches!(
            CodebookHealth::measure(&[], 2, 8),
            Err(EvalError::Empty(_))
        ));
        assert!(CodebookHealth::measure(&[0], 0, 8).is_err());
    }

    #[test]
    fn finds_shared_codes() {
        // Code 0 is in all four pictures, 1 in three, 2 in two (twice in picture 0), 3 in one.
        let codes = [0, 1, 2, 2, 0, 1, 2, 0, 0, 1, 0, 0, 3, 3, 0, 0];
        let shared = |wanted| shared_codes(&codes, 4, 8, 2..=3, wanted).unwrap();
        let all = shared(9);
        assert_eq!(all.iter().map(|s| s.code).collect::<Vec<_>>(), [1, 2]);
        let place = |picture, position| CodeUse { picture, position };
        assert_eq!(all[1].uses, [place(0, 2), place(1, 2)]);
        assert_eq!(shared(1).len(), 1);
        assert!(shared(0).is_empty());
    }
}

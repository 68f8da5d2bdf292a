//! Settings of generation.

use serde::{Deserialize, Serialize};

use super::{Allowed, VisualGrammar};
use crate::LmError;

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoding {
    /// The most probable.
    Greedy,
    /// Drawn at random.
    Sample {
        /// Scores are divided by it; above 0.
        temperature: f64,
        /// Only so many of the most probable tokens; 0 for all.
        top_k: usize,
        /// Only the most probable tokens that together have this share; 1 for all.
        top_p: f64,
        /// Seed of the draws.
        seed: u64,
    },
    /// Several hypotheses side by side (the semantics of transformers 4.57).
    Beam {
        /// Number of hypotheses.
        beams: usize,
        /// Exponent of the length that sums of log-probabilities are divided by.
        length_penalty: f64,
        /// Whether to stop as soon as there are enough finished hypotheses.
        early_stopping: bool,
    },
}

impl Decoding {
    /// What SEED's captions were scored with: five beams.
    pub fn captioning() -> Self {
        Self::Beam {
            beams: 5,
            length_penalty: 1.0,
            early_stopping: false,
        }
    }
}

/// Settings of generation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationConfig {
    /// Tokens to generate at most.
    pub max_new_tokens: usize,
    /// Tokens before which the end is not allowed.
    pub min_new_tokens: usize,
    /// What ends a text; none to always generate the most.
    pub end: Option<u32>,
    /// Scores of tokens that have occurred are divided by this if positive, else multiplied; 1 for none.
    pub repetition_penalty: f64,
    /// How the next token is chosen.
    pub decoding: Decoding,
    /// The form that images must have; none for no constraint.
    pub grammar: Option<VisualGrammar>,
}

impl GenerationConfig {
    /// Greedy, without constraint.
    pub fn greedy(max_new_tokens: usize, end: Option<u32>) -> Self {
        Self {
            max_new_tokens,
            min_new_tokens: 0,
            end,
            repetition_penalty: 1.0,
            decoding: Decoding::Greedy,
            grammar: None,
        }
    }

    /// Refuses settings outside their ranges, for a model with `vocabulary` ids.
    ///
    /// # Errors
    ///
    /// [`LmError::Setting`], [`LmError::IdOutOfRange`].
    pub fn validate(&self, vocabulary: usize) -> Result<(), LmError> {
        let most = self.max_new_tokens;
        LmError::require(most > 0, "max_new_tokens", most, "at least 1")?;
        let least = self.min_new_tokens;
        LmError::require(
            least <= most,
            "min_new_tokens",
            least,
            "at most max_new_tokens",
        )?;
        if let Some(id) = self.end {
            LmError::check_id(id, vocabulary)?;
        }
        if let Some(grammar) = &self.grammar {
            grammar.validate(vocabulary)?;
        }
        let penalty = self.repetition_penalty;
        let sound = penalty.is_finite() && penalty > 0.0;
        LmError::require(sound, "repetition_penalty", penalty, "above 0")?;
        match self.decoding {
            Decoding::Greedy => Ok(()),
            Decoding::Sample {
                temperature, top_p, ..
            } => {
                let sound = temperature.is_finite() && temperature > 0.0;
                LmError::require(sound, "temperature", temperature, "above 0")?;
                let sound = top_p > 0.0 && top_p <= 1.0;
                LmError::require(sound, "top_p", top_p, "above 0 and at most 1")
            }
            Decoding::Beam {
                beams,
                length_penalty,
                ..
            } => {
                LmError::require(beams > 0, "beams", beams, "at least 1")?;
                let sound = length_penalty.is_finite();
                LmError::require(sound, "length_penalty", length_penalty, "a finite number")
            }
        }
    }

    /// Applies everything that forbids or discourages tokens to one row of scores.
    ///
    /// `sequence` is the whole row so far, `new` how many of its tokens were generated.
    pub(super) fn process(&self, sequence: &[u32], new: usize, scores: &mut [f32]) {
        if (self.repetition_penalty - 1.0).abs() > 0.0 {
            let penalty = self.repetition_penalty as f32;
            let mut seen: Vec<u32> = sequence.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(score) = scores.get_mut(id as usize) {
                    *score = if *score < 0.0 {
                        *score * penalty
                    } else {
                        *score / penalty
                    };
                }
            }
        }
        let grammar = self.grammar.as_ref();
        let allowed = grammar.map(|grammar| grammar.apply(sequence, scores));
        // Where the mark that closes an image is the end, it closes the image all the same.
        let early = new < self.min_new_tokens && allowed != Some(Allowed::Close);
        if let Some(end) = self.end.filter(|_| early) {
            scores[end as usize] = f32::NEG_INFINITY;
        }
    }
}

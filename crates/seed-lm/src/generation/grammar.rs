//! What may come next, by the form of an image.

use std::ops::Range;

use crate::{LmError, VisualIds};

/// Ids that may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Anything but what stands inside images: codes, and the mark that closes them.
    Outside,
    /// A code.
    Code,
    /// The mark that closes an image.
    Close,
}

/// The form of an image: the opening mark, exactly so many codes, the closing mark; codes nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisualGrammar {
    /// The mark that opens an image.
    pub open: u32,
    /// The mark that closes it.
    pub close: u32,
    /// Ids of codes.
    pub codes: Range<u32>,
    /// Codes of an image.
    pub per_image: usize,
}

impl From<VisualIds> for VisualGrammar {
    fn from(ids: VisualIds) -> Self {
        Self {
            open: ids.open(),
            close: ids.close(),
            codes: ids.words as u32..(ids.words + ids.codes) as u32,
            per_image: ids.per_image,
        }
    }
}

impl VisualGrammar {
    /// Refuses a form that no image can have in a vocabulary of that size.
    pub(super) fn validate(&self, vocabulary: usize) -> Result<(), LmError> {
        let codes = &self.codes;
        let sound = !codes.is_empty()
            && !codes.contains(&self.open)
            && !codes.contains(&self.close)
            && self.open != self.close;
        let expected = "some ids, none of them a mark, and the two marks two";
        LmError::require(sound, "grammar.codes", format!("{codes:?}"), expected)?;
        for id in [self.open, self.close, codes.end - 1] {
            LmError::check_id(id, vocabulary)?;
        }
        Ok(())
    }

    /// What may follow a sequence, its prompt included.
    pub fn after(&self, sequence: &[u32]) -> Allowed {
        let inside = sequence
            .iter()
            .rev()
            .take_while(|id| self.codes.contains(id));
        let codes = inside.count();
        let before = sequence.len() - codes;
        if before == 0 || sequence[before - 1] != self.open {
            return Allowed::Outside;
        }
        if codes < self.per_image {
            Allowed::Code
        } else {
            Allowed::Close
        }
    }

    /// Sets the scores of all ids that may not follow `sequence` to −∞, and says what may.
    pub fn apply(&self, sequence: &[u32], scores: &mut [f32]) -> Allowed {
        let hide = |scores: &mut [f32], range: Range<usize>| {
            let end = range.end.min(scores.len());
            scores[range.start.min(end)..end].fill(f32::NEG_INFINITY);
        };
        let (first, end) = (self.codes.start as usize, self.codes.end as usize);
        let close = self.close as usize;
        let all = scores.len();
        let allowed = self.after(sequence);
        match allowed {
            Allowed::Outside => {
                hide(scores, first..end);
                hide(scores, close..close + 1);
            }
            Allowed::Code => {
                hide(scores, 0..first);
                hide(scores, end..all);
            }
            Allowed::Close => {
                hide(scores, 0..close);
                hide(scores, close + 1..all);
            }
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_exactly_its_codes() {
        let grammar = VisualGrammar::from(VisualIds {
            words: 10,
            codes: 4,
            per_image: 2,
        });
        let cases: [(&[u32], Allowed); 6] = [
            (&[], Allowed::Outside),
            (&[3, 5], Allowed::Outside),
            (&[3, 14], Allowed::Code),
            (&[3, 14, 11], Allowed::Code),
            (&[3, 14, 11, 12], Allowed::Close),
            (&[3, 14, 11, 12, 15], Allowed::Outside),
        ];
        for (sequence, allowed) in cases {
            assert_eq!(grammar.after(sequence), allowed, "{sequence:?}");
            let mut scores = vec![0.0; 16];
            grammar.apply(sequence, &mut scores);
            let open: Vec<usize> = (0..16).filter(|id| scores[*id] == 0.0).collect();
            let expected: Vec<usize> = match allowed {
                Allowed::Outside => (0..10).chain([14]).collect(),
                Allowed::Code => (10..14).collect(),
                Allowed::Close => vec![15],
            };
            assert_eq!(open, expected, "{sequence:?}");
        }
    }
}

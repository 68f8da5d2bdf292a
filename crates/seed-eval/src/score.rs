//! The names of the scores that a report holds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A score by its name, as a [`Target`](crate::Target) names it: the variant in snake case, such as
/// `image_to_text_r1`. A name that is none of these is refused with the list of them all.
///
/// Those of [`Report`](crate::Report) come first, then those of [`LanguageReport`](crate::language::LanguageReport).
/// Each is a share unless its line says that it is a number, and is measured on a held-out set unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Pictures whose embedding finds a caption of theirs first.
    ImageToTextR1,
    /// Among the first five.
    ImageToTextR5,
    /// Among the first ten.
    ImageToTextR10,
    /// Captions that find a picture of theirs first, by its embedding.
    TextToImageR1,
    /// Among the first five.
    TextToImageR5,
    /// Among the first ten.
    TextToImageR10,
    /// Number: the mean of these six, in percent.
    RMean,
    /// Pictures whose codes find a caption of theirs first.
    CodesImageToTextR1,
    /// Among the first five.
    CodesImageToTextR5,
    /// Among the first ten.
    CodesImageToTextR10,
    /// Captions that find a picture of theirs first, by its codes.
    CodesTextToImageR1,
    /// Among the first five.
    CodesTextToImageR5,
    /// Among the first ten.
    CodesTextToImageR10,
    /// Number: the mean of these six, in percent.
    CodesRMean,
    /// Number: what the codes lose against the embeddings, in points of R@mean.
    LostByCodes,
    /// Codes of the codebook that are in use. Of no set.
    CodebookInUse,
    /// Number: how many evenly used codes would say as much. Of no set.
    CodebookPerplexity,
    /// Captions that are a reference to the letter.
    ExactCaptions,
    /// Number: CIDEr-D of the captions.
    Cider,
    /// Number: BLEU-4 of the captions.
    Bleu4,
    /// Number: ROUGE-L of the captions.
    RougeL,
    /// Number: perplexity of the reference captions' tokens.
    CaptionPerplexity,
    /// Questions answered rightly.
    RightAnswers,
    /// Recall: prompts that were answered with a well-formed image.
    RecallWellFormed,
    /// Recall: images that find their prompt first.
    RecallR1,
    /// Among the first five.
    RecallR5,
    /// Among the first ten.
    RecallR10,
    /// Other words: prompts that were answered with a well-formed image.
    OtherWordsWellFormed,
    /// Other words: images that find their prompt first.
    OtherWordsR1,
    /// Among the first five.
    OtherWordsR5,
    /// Among the first ten.
    OtherWordsR10,
    /// Unseen concepts: prompts that were answered with a well-formed image.
    UnseenConceptsWellFormed,
    /// Unseen concepts: images that find their prompt first.
    UnseenConceptsR1,
    /// Among the first five.
    UnseenConceptsR5,
    /// Among the first ten.
    UnseenConceptsR10,
    /// Nouns that were answered with a well-formed image. The set is the decoding, such as `greedy`.
    NounsWellFormed,
    /// Number: perplexity of the codes of held-out pictures, marks apart.
    CodePerplexity,
}

impl Score {
    /// Whether the score is a share; else it is a plain number.
    pub fn is_share(self) -> bool {
        !matches!(
            self,
            Self::RMean
                | Self::CodesRMean
                | Self::LostByCodes
                | Self::CodebookPerplexity
                | Self::Cider
                | Self::Bleu4
                | Self::RougeL
                | Self::CaptionPerplexity
                | Self::CodePerplexity
        )
    }

    /// Whether the score is measured on a set that must be named.
    pub fn has_set(self) -> bool {
        !matches!(self, Self::CodebookInUse | Self::CodebookPerplexity)
    }

    /// What is written after its value.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::LostByCodes => "points",
            Self::RMean | Self::CodesRMean => "%",
            _ if self.is_share() => "%",
            _ => "",
        }
    }
}

/// The name in snake case.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

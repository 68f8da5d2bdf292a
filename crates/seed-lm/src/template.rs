//! How words and codes are put into one sequence: templates as data.
//!
//! - paper: SEED §3, Fig. 4
//!
//! ```text
//! image → text   {image}{start}A photo of   →    {caption}{end}
//! text → image   {start}Generate an image {caption}{end}   →   {image}
//! ```

use serde::{Deserialize, Serialize};

use crate::{LmError, OptConfig, VisualIds};

/// What a sequence is made of: a condition, and the target that is learned and generated.
///
/// In both, `{image}` stands for `IMG`, the codes, `/IMG`; `{start}` and `{end}` for the language model's own
/// marks; `{caption}`, `{question}` and `{answer}` for texts. Everything else is text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What is given.
    pub condition: String,
    /// What follows it. The loss is on this alone.
    pub target: String,
}

/// The templates of SEED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    /// A picture's caption.
    pub image_to_text: Template,
    /// A picture to a caption.
    pub text_to_image: Template,
    /// An answer to a question about a picture.
    pub question: Template,
}

impl Templates {
    /// Refuses them if one is no template.
    ///
    /// # Errors
    ///
    /// [`LmError::Template`].
    pub fn validate(&self) -> Result<(), LmError> {
        self.image_to_text.validate()?;
        self.text_to_image.validate()?;
        self.question.validate()
    }
}

impl Default for Templates {
    fn default() -> Self {
        let template = |condition: &str, target: &str| Template {
            condition: condition.to_owned(),
            target: target.to_owned(),
        };
        Self {
            image_to_text: template("{image}{start}A photo of", " {caption}{end}"),
            text_to_image: template("{start}Generate an image {caption}{end}", "{image}"),
            question: template(
                "{image}{start}Question: {question} Answer:",
                " {answer}{end}",
            ),
        }
    }
}

/// What a template is filled with; what it does not name may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Example<'a> {
    /// Codes of the picture.
    pub codes: &'a [i64],
    /// Caption.
    pub caption: &'a str,
    /// Question.
    pub question: &'a str,
    /// Answer.
    pub answer: &'a str,
}

/// Ids of a condition and of the target that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequence {
    /// All ids.
    pub ids: Vec<u32>,
    /// Where the target begins.
    pub target: usize,
}

/// The ids of a text, without marks around it.
pub type Encode<'a> = &'a dyn Fn(&str) -> Result<Vec<u32>, LmError>;

impl Template {
    /// Refuses what is no template: an unknown name, a brace that is not closed, an empty target.
    ///
    /// # Errors
    ///
    /// [`LmError::Template`].
    pub fn validate(&self) -> Result<(), LmError> {
        parts(&self.condition)?;
        if parts(&self.target)?.is_empty() {
            return Err(LmError::Template {
                template: self.target.clone(),
                reason: "the target is empty".to_owned(),
            });
        }
        Ok(())
    }

    /// The sequence of an example.
    ///
    /// # Errors
    ///
    /// [`LmError::Template`], [`LmError::CodeOutOfRange`], and what `encode` gives.
    pub fn sequence(
        &self,
        example: &Example<'_>,
        ids: &VisualIds,
        opt: &OptConfig,
        encode: Encode<'_>,
    ) -> Result<Sequence, LmError> {
        let mut all = self.condition(example, ids, opt, encode)?;
        let target = all.len();
        fill(&mut all, &self.target, example, ids, opt, encode)?;
        Ok(Sequence { ids: all, target })
    }

    /// The condition alone: a prompt.
    ///
    /// # Errors
    ///
    /// Those of [`Self::sequence`].
    pub fn condition(
        &self,
        example: &Example<'_>,
        ids: &VisualIds,
        opt: &OptConfig,
        encode: Encode<'_>,
    ) -> Result<Vec<u32>, LmError> {
        let mut all = Vec::new();
        fill(&mut all, &self.condition, example, ids, opt, encode)?;
        Ok(all)
    }
}

/// A piece of a template.
enum Part<'a> {
    Text(&'a str),
    Named(Name),
}

#[derive(Clone, Copy)]
enum Name {
    Image,
    Start,
    End,
    Caption,
    Question,
    Answer,
}

const NAMES: [(&str, Name); 6] = [
    ("image", Name::Image),
    ("start", Name::Start),
    ("end", Name::End),
    ("caption", Name::Caption),
    ("question", Name::Question),
    ("answer", Name::Answer),
];

fn parts(template: &str) -> Result<Vec<Part<'_>>, LmError> {
    let refuse = |reason: String| LmError::Template {
        template: template.to_owned(),
        reason,
    };
    let mut found = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            found.push(Part::Text(rest));
            break;
        };
        if open > 0 {
            found.push(Part::Text(&rest[..open]));
        }
        let Some(close) = rest[open..].find('}') else {
            return Err(refuse("a `{` is not closed".to_owned()));
        };
        let word = &rest[open + 1..open + close];
        let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == word) else {
            let known = NAMES.map(|(name, _)| format!("{{{name}}}")).join(", ");
            return Err(refuse(format!("`{{{word}}}` is unknown; known: {known}")));
        };
        found.push(Part::Named(*name));
        rest = &rest[open + close + 1..];
    }
    Ok(found)
}

/// Appends a filled template. Text that stands side by side is encoded as one, as a reader would see it.
fn fill(
    all: &mut Vec<u32>,
    template: &str,
    example: &Example<'_>,
    ids: &VisualIds,
    opt: &OptConfig,
    encode: Encode<'_>,
) -> Result<(), LmError> {
    let mut text = String::new();
    for part in parts(template)? {
        let mark = match part {
            Part::Text(piece) => {
                text.push_str(piece);
                continue;
            }
            Part::Named(Name::Caption) => {
                text.push_str(example.caption);
                continue;
            }
            Part::Named(Name::Question) => {
                text.push_str(example.question);
                continue;
            }
            Part::Named(Name::Answer) => {
                text.push_str(example.answer);
                continue;
            }
            Part::Named(Name::Image) => ids.image(example.codes)?,
            Part::Named(Name::Start) => vec![opt.start],
            Part::Named(Name::End) => vec![opt.end],
        };
        if !text.is_empty() {
            all.extend(encode(&text)?);
            text.clear();
        }
        all.extend(mark);
    }
    if !text.is_empty() {
        all.extend(encode(&text)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> (VisualIds, OptConfig) {
        let ids = VisualIds {
            words: 200,
            codes: 8,
            per_image: 2,
        };
        (ids, OptConfig::pre_norm(200, 8, 1, 1))
    }

    #[expect(clippy::unnecessary_wraps, reason = "an `Encode`")]
    fn letters(text: &str) -> Result<Vec<u32>, LmError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    #[test]
    fn the_loss_is_right_of_the_arrow() {
        let (ids, opt) = setting();
        let example = Example {
            codes: &[3, 5],
            caption: "ox",
            ..Example::default()
        };
        let templates = Templates::default();
        let sequence = templates
            .image_to_text
            .sequence(&example, &ids, &opt, &letters)
            .unwrap();
        let mut expected = vec![208, 203, 205, 209, 2];
        expected.extend(letters("A photo of").unwrap());
        assert_eq!(sequence.target, expected.len());
        expected.extend(letters(" ox").unwrap());
        expected.push(2);
        assert_eq!(sequence.ids, expected);

        let sequence = templates
            .text_to_image
            .sequence(&example, &ids, &opt, &letters)
            .unwrap();
        assert_eq!(sequence.ids[sequence.target..], [208, 203, 205, 209]);
        assert_eq!(
            ids.codes_in(&sequence.ids[sequence.target..]),
            Some(vec![3, 5])
        );
    }

    #[test]
    fn a_template_that_is_none_is_refused() {
        let template = |condition: &str, target: &str| Template {
            condition: condition.to_owned(),
            target: target.to_owned(),
        };
        for (bad, named) in [
            (template("{imgae}", "{end}"), "{imgae}"),
            (template("{image", "{end}"), "not closed"),
            (template("{image}", ""), "empty"),
        ] {
            let error = bad.validate().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let (ids, opt) = setting();
        let example = Example {
            codes: &[3, 8],
            ..Example::default()
        };
        let error = Templates::default()
            .image_to_text
            .condition(&example, &ids, &opt, &letters)
            .unwrap_err();
        assert!(error.to_string().contains("code 8"), "{error}");
    }
}

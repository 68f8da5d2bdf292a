//! GQA's questions: one object, by question.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{file::read, pictures::check_name};
use crate::{EvalError, GqaItem};

/// A question about an image of Visual Genome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GqaQuestion {
    /// The data set's name of it, such as `201307251`.
    pub id: String,
    /// The data set's name of the image, such as `n161313`.
    pub image_id: String,
    /// The image's file, `n161313.jpg`.
    pub file_name: String,
    /// The question.
    pub question: String,
    /// The expected answer.
    pub answer: String,
}

impl GqaQuestion {
    /// The question with a model's answer, to be scored.
    pub fn answered<'a>(&'a self, prediction: &'a str) -> GqaItem<'a> {
        GqaItem {
            prediction,
            answer: &self.answer,
        }
    }
}

/// Reads GQA's questions, in the file's order.
///
/// # Errors
/// Those of [`super::coco_captions`] on reading; [`EvalError::PictureName`] naming the entry;
/// [`EvalError::Empty`] if there is no question. The files of
/// the test and challenge parts have no answers, which is a [`EvalError::Field`].
pub fn gqa_questions(path: impl AsRef<Path>) -> Result<Vec<GqaQuestion>, EvalError> {
    let wanted = "questions of GQA with their answers, such as testdev_balanced_questions.json";
    let path = path.as_ref();
    let QuestionFile(questions) = read(path, wanted)?;
    if questions.is_empty() {
        return Err(EvalError::Empty("questions"));
    }
    for question in &questions {
        let place = || format!("`{}.imageId`", question.id);
        check_name(path, place, &question.image_id)?;
    }
    Ok(questions)
}

struct QuestionFile(Vec<GqaQuestion>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    image_id: String,
    question: String,
    answer: String,
}

impl<'de> Deserialize<'de> for QuestionFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Keeps the order of the file, which a map would not.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = QuestionFile;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of questions by their id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QuestionFile, A::Error> {
        let mut questions = Vec::new();
        while let Some((id, entry)) = map.next_entry::<String, Entry>()? {
            questions.push(GqaQuestion {
                id,
                file_name: format!("{}.jpg", entry.image_id),
                image_id: entry.image_id,
                question: entry.question,
                answer: entry.answer,
            });
        }
        Ok(QuestionFile(questions))
    }
}

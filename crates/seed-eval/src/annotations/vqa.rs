//! VQAv2: a file of questions, and one of people's answers.

use std::path::Path;

use serde::Deserialize;

use super::{
    file::{places, read},
    pictures::check_name,
};
use crate::{EvalError, VqaItem};

/// A question about an image of COCO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VqaQuestion {
    /// The data set's number of it.
    pub id: u64,
    /// COCO's number of the image.
    pub image_id: u64,
    /// COCO's name of the image's file, `COCO_val2014_000000262148.jpg`.
    pub file_name: String,
    /// The question.
    pub question: String,
    /// People's answers, ten in VQAv2, at least one.
    pub answers: Vec<String>,
    /// `yes/no`, `number` or `other`.
    pub answer_type: String,
    /// How the question begins, such as `what color is the`.
    pub question_type: String,
}

impl VqaQuestion {
    /// The question with a model's answer, to be scored.
    pub fn answered<'a>(&'a self, prediction: &'a str) -> VqaItem<'a> {
        VqaItem {
            prediction,
            answers: &self.answers,
            answer_type: Some(&self.answer_type),
            question_type: Some(&self.question_type),
        }
    }
}

/// Reads the questions of VQAv2 (`v2_OpenEnded_mscoco_val2014_questions.json`) with their answers
/// (`v2_mscoco_val2014_annotations.json`), in the order of the questions. Answers to questions that are not
/// there are left out, so that a part of the questions may be asked.
///
/// # Errors
/// Those of [`super::coco_captions`] on reading; [`EvalError::PictureName`] if the part's name cannot be in that of
/// a file; [`EvalError::Unannotated`] if a question has no answers;
/// [`EvalError::Empty`] if there is no question.
pub fn vqa_questions(
    questions: impl AsRef<Path>,
    annotations: impl AsRef<Path>,
) -> Result<Vec<VqaQuestion>, EvalError> {
    let (questions_path, annotations_path) = (questions.as_ref(), annotations.as_ref());
    let wanted = "the questions of VQAv2, such as v2_OpenEnded_mscoco_val2014_questions.json";
    let file: QuestionFile = read(questions_path, wanted)?;
    if file.questions.is_empty() {
        return Err(EvalError::Empty("questions"));
    }
    // It is part of each picture's name.
    let subtype = || "`data_subtype`".to_owned();
    check_name(questions_path, subtype, &file.data_subtype)?;
    places(
        questions_path,
        "question",
        file.questions.iter().map(|question| question.question_id),
    )?;
    let wanted = "the answers of VQAv2, such as v2_mscoco_val2014_annotations.json";
    let mut annotations = read::<AnnotationFile>(annotations_path, wanted)?.annotations;
    let places = places(
        annotations_path,
        "question",
        annotations.iter().map(|annotation| annotation.question_id),
    )?;
    let join = |question: Asked| {
        let annotation = places
            .get(&question.question_id)
            .map(|place| &mut annotations[*place])
            .filter(|annotation| !annotation.answers.is_empty());
        let Some(annotation) = annotation else {
            return Err(EvalError::Unannotated {
                questions: questions_path.to_owned(),
                annotations: annotations_path.to_owned(),
                question: question.question_id,
            });
        };
        let answers = annotation.answers.drain(..);
        Ok(VqaQuestion {
            id: question.question_id,
            image_id: question.image_id,
            file_name: format!("COCO_{}_{:012}.jpg", file.data_subtype, question.image_id),
            question: question.question,
            answers: answers.map(|answer| answer.answer).collect(),
            answer_type: std::mem::take(&mut annotation.answer_type),
            question_type: std::mem::take(&mut annotation.question_type),
        })
    };
    file.questions.into_iter().map(join).collect()
}

#[derive(Deserialize)]
struct QuestionFile {
    data_subtype: String,
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct AnnotationFile {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    question_type: String,
    answer_type: String,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
}

//! `seed eval questions`: VQAv2 and GQA from their own files.

use std::{error::Error, path::PathBuf};

use clap::{Args, ValueEnum};
use seed_eval::{
    GqaScores, VqaScores,
    annotations::{GqaQuestion, VqaQuestion, gqa_questions, vqa_questions},
};
use serde_json::{Value, json};

use super::benchmark::{Asked, BenchmarkArguments, Protocol};
use crate::{
    language::SAMPLING,
    outcome::{Outcome, Status},
    output::{self, Format},
};

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// VQAv2: a file of questions and one of annotations.
    Vqav2,
    /// GQA: one file, such as `testdev_balanced_questions.json`.
    Gqa,
}

/// Answers to a benchmark's questions: accuracy by the benchmark's own rule.
///
/// VQAv2 counts how many of ten people said the same, after its normalisation; GQA counts answers that are the
/// expected one. Decoding is the published one if nothing else is asked for: five beams without a penalty on length, 1 to
/// 10 new tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seed eval questions --benchmark gqa --questions testdev_balanced_questions.json --images gqa/images/ --lm runs/lm
  seed eval questions --benchmark vqav2 --questions v2_OpenEnded_mscoco_val2014_questions.json \\
      --annotations v2_mscoco_val2014_annotations.json --images val2014/ --predictions said.json")]
pub(crate) struct Arguments {
    /// The form of the files.
    #[arg(long, value_enum)]
    benchmark: Benchmark,
    /// The file of questions.
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    /// The file of answers.
    #[arg(long, value_name = "FILE", required_if_eq("benchmark", "vqav2"))]
    annotations: Option<PathBuf>,
    /// Shortest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Decoding")]
    min_new_tokens: usize,
    /// Longest answer, in tokens.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        help_heading = "Decoding"
    )]
    max_new_tokens: usize,
    /// Exponent of the length that beams' scores are divided by.
    #[arg(long, value_name = "X", default_value_t = 0.0, conflicts_with = SAMPLING, help_heading = "Decoding")]
    length_penalty: f64,
    #[command(flatten)]
    run: BenchmarkArguments,
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Outcome {
        let written =
            if let (Benchmark::Vqav2, Some(annotations)) = (self.benchmark, &self.annotations) {
                let questions = vqa_questions(&self.questions, annotations)?;
                self.vqav2(&self.run.limit(questions), quiet)?
            } else {
                self.gqa(&self.run.limit(gqa_questions(&self.questions)?), quiet)?
            };
        output::to_stdout(written.as_bytes())?;
        Ok(Status::Done)
    }

    fn vqav2(&self, questions: &[VqaQuestion], quiet: bool) -> Result<String, Box<dyn Error>> {
        let said = self.say(
            questions,
            |question| Asked {
                file_name: &question.file_name,
                question: &question.question,
            },
            |question, said| json!({ "question_id": question.id, "answer": said }),
            quiet,
        )?;
        let pairs = questions.iter().zip(&said);
        let items: Vec<_> = pairs
            .map(|(question, said)| question.answered(said))
            .collect();
        let scores = VqaScores::of(&items)?;
        if self.run.format == Format::Json {
            let scores = json!({
                "questions": questions.len(),
                "accuracy": scores.overall,
                "per_answer_type": scores.per_answer_type,
                "per_question_type": scores.per_question_type,
            });
            return self.json(scores);
        }
        let mut rows = vec![row("all", questions.len(), scores.overall)];
        for (name, accuracy) in &scores.per_answer_type {
            let of_type = questions
                .iter()
                .filter(|question| question.answer_type == *name);
            rows.push(row(name, of_type.count(), *accuracy));
        }
        Ok(self.table(rows))
    }

    fn gqa(&self, questions: &[GqaQuestion], quiet: bool) -> Result<String, Box<dyn Error>> {
        let said = self.say(
            questions,
            |question| Asked {
                file_name: &question.file_name,
                question: &question.question,
            },
            |question, said| json!({ "questionId": question.id, "prediction": said }),
            quiet,
        )?;
        let pairs = questions.iter().zip(&said);
        let items: Vec<_> = pairs
            .map(|(question, said)| question.answered(said))
            .collect();
        let scores = GqaScores::of(&items)?;
        if self.run.format == Format::Json {
            let scores = json!({ "questions": questions.len(), "accuracy": scores.accuracy });
            return self.json(scores);
        }
        let row = row("all", questions.len(), scores.accuracy);
        Ok(self.table(vec![row]))
    }

    fn say<T>(
        &self,
        questions: &[T],
        asked: impl Fn(&T) -> Asked<'_>,
        prediction: impl Fn(&T, &str) -> Value,
        quiet: bool,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let protocol = self.protocol();
        self.run.say(questions, &protocol, asked, prediction, quiet)
    }

    fn protocol(&self) -> Protocol {
        Protocol {
            template: |templates| &templates.question,
            min_new_tokens: self.min_new_tokens,
            max_new_tokens: self.max_new_tokens,
            length_penalty: self.length_penalty,
        }
    }

    fn json(&self, scores: Value) -> Result<String, Box<dyn Error>> {
        let scores = self.run.with_decoding(&self.protocol(), scores);
        Ok(serde_json::to_string_pretty(&scores)? + "\n")
    }

    fn table(&self, rows: Vec<Vec<String>>) -> String {
        let mut table = output::table(["", "questions", "accuracy %"]);
        let how = self.run.in_words(&self.protocol());
        format!("{}\n{how}\n", table.add_rows(rows))
    }
}

fn row(name: &str, questions: usize, accuracy: f64) -> Vec<String> {
    vec![
        name.to_owned(),
        questions.to_string(),
        format!("{accuracy:.2}"),
    ]
}

//! Retrieval, captions and answers to questions, as the reference evaluations count them: LAVIS'
//! `retrieval.py` (`_report_metrics`), pycocoevalcap, the official VQA code and LAVIS' GQA rule.

use std::collections::BTreeMap;

use seed_eval::{
    CaptionItem, CaptionScores, GqaItem, GqaScores, GroundTruth, ImageCaptionScores, VqaItem,
    VqaScores, ptb_tokenize, vqa_cleaned_answers, vqa_normalize, vqa_punctuation,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    case::{ANY, Case},
    comparison::{Rule, Values},
    error::ParityError,
    outputs::Recorder,
};

const EXPECTED: &str = "expected.json";

/// Caption scores run through the same sums in another order.
const CAPTION_SCORES: f64 = 1e-8;

/// The official VQA code rounds its percentages to two decimals.
const TWO_DECIMALS: Rule = Rule::Within(0.005 + 1e-9);

/// Compares a section of `expected.json`.
type Compare = fn(&Case<'_>, &mut Recorder<'_>) -> Result<(), ParityError>;

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    if case.has_input("scores")? {
        retrieval(case, out)?;
    }
    let sections: [(&str, Compare); 6] = [
        ("ptb", strings_for_captions),
        ("tokenized", tokenized_captions),
        ("caption_metrics", caption_scores),
        ("vqa_normalised_strings", strings_for_questions),
        ("vqa", vqa),
        ("gqa", gqa),
    ];
    for (section, compare) in sections {
        if case.expected.get(section).is_some() {
            compare(case, out)?;
        }
    }
    let unbuilt = [
        ("fid", "FID is not built here yet"),
        ("clip_cosine", "the CLIP similarity is not built here yet"),
    ];
    for (section, reason) in unbuilt {
        if case.expected.get(section).is_some() {
            out.leave_out(format!("expected/{section}"), reason);
        }
    }
    Ok(())
}

/// A JSON value in the form that a comparison takes.
fn parse<T: DeserializeOwned>(
    case: &Case<'_>,
    file: &str,
    value: &Value,
) -> Result<T, ParityError> {
    T::deserialize(value).map_err(|source| ParityError::Json {
        path: case.path(file),
        source,
    })
}

fn read<T: DeserializeOwned>(case: &Case<'_>, file: &str) -> Result<T, ParityError> {
    parse(case, file, &case.json(file)?)
}

fn expected<T: DeserializeOwned>(case: &Case<'_>, section: &str) -> Result<T, ParityError> {
    parse(case, EXPECTED, &case.expected[section])
}

fn numbers(entries: impl IntoIterator<Item = f64>) -> Values {
    let entries: Vec<f64> = entries.into_iter().collect();
    Values::Numbers {
        shape: vec![entries.len()],
        entries,
    }
}

fn strings(
    out: &mut Recorder<'_>,
    name: &str,
    found: impl IntoIterator<Item = String>,
    golden: Vec<String>,
) {
    out.push(
        format!("expected/{name}"),
        Values::Rows(found.into_iter().collect()),
        Values::Rows(golden),
        Rule::Exact,
    );
}

#[derive(Deserialize)]
struct Captions {
    hypothesis: String,
    references: Vec<String>,
}

impl Captions {
    fn into_texts(self) -> impl Iterator<Item = String> {
        self.references.into_iter().chain([self.hypothesis])
    }
}

fn strings_for_captions(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let texts: Vec<String> = read(case, "ptb_strings.json")?;
    let found = texts.iter().map(|text| ptb_tokenize(text));
    strings(out, "ptb", found, expected(case, "ptb")?);
    Ok(())
}

fn tokenized_captions(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let raw: Vec<Captions> = read(case, "captions.json")?;
    let golden: Vec<Captions> = expected(case, "tokenized")?;
    let raw = raw.into_iter().flat_map(Captions::into_texts);
    let golden = golden.into_iter().flat_map(Captions::into_texts).collect();
    strings(
        out,
        "tokenized",
        raw.map(|text| ptb_tokenize(&text)),
        golden,
    );
    Ok(())
}

#[derive(Deserialize)]
struct CaptionMetrics {
    bleu: [f64; 4],
    bleu_per_image: [Vec<f64>; 4],
    rouge_l: f64,
    rouge_l_per_image: Vec<f64>,
    cider: f64,
    cider_per_image: Vec<f64>,
    cider_plain: f64,
    cider_plain_per_image: Vec<f64>,
}

/// On the golden tokens, so that the scores are held apart from the tokenisation.
fn caption_scores(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let golden: CaptionMetrics = expected(case, "caption_metrics")?;
    let images: Vec<Captions> = expected(case, "tokenized")?;
    let items: Vec<CaptionItem<'_>> = images
        .iter()
        .map(|image| CaptionItem {
            hypothesis: &image.hypothesis,
            references: &image.references,
        })
        .collect();
    let found = CaptionScores::of_tokenized(&items)?;
    let mut compare = |name: &str, found: Values, golden: Values| {
        let name = format!("expected/caption_metrics/{name}");
        out.push(name, found, golden, Rule::Relative(CAPTION_SCORES));
    };
    let per_image =
        |score: &dyn Fn(&ImageCaptionScores) -> f64| numbers(found.per_image.iter().map(score));
    compare("bleu", numbers(found.bleu), numbers(golden.bleu));
    for (order, golden) in golden.bleu_per_image.into_iter().enumerate() {
        let name = format!("bleu_per_image/{order}");
        compare(
            &name,
            per_image(&|image| image.bleu[order]),
            numbers(golden),
        );
    }
    for (name, found, golden, found_per_image, golden_per_image) in [
        (
            "rouge_l",
            found.rouge_l,
            golden.rouge_l,
            per_image(&|image| image.rouge_l),
            golden.rouge_l_per_image,
        ),
        (
            "cider",
            found.cider_d,
            golden.cider,
            per_image(&|image| image.cider_d),
            golden.cider_per_image,
        ),
        (
            "cider_plain",
            found.cider_plain,
            golden.cider_plain,
            per_image(&|image| image.cider_plain),
            golden.cider_plain_per_image,
        ),
    ] {
        compare(name, Values::scalar(found), Values::scalar(golden));
        let name = format!("{name}_per_image");
        compare(&name, found_per_image, numbers(golden_per_image));
    }
    if case.expected["caption_metrics"].get("meteor").is_some() {
        let reason = "METEOR needs the paraphrase tables of its Java program";
        out.leave_out("expected/caption_metrics/meteor", reason);
    }
    Ok(())
}

fn strings_for_questions(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let texts: Vec<String> = read(case, "vqa_strings.json")?;
    for (name, normalize) in [
        (
            "vqa_normalised_strings",
            vqa_normalize as fn(&str) -> String,
        ),
        ("vqa_punctuation_only_strings", vqa_punctuation),
    ] {
        let found = texts.iter().map(|text| normalize(text));
        strings(out, name, found, expected(case, name)?);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Asked {
    question_id: u64,
    question_type: String,
    answer_type: String,
    prediction: String,
    answers: Vec<String>,
}

#[derive(Deserialize)]
struct VqaGolden {
    overall: f64,
    per_answer_type: BTreeMap<String, f64>,
    per_question_type: BTreeMap<String, f64>,
    per_question: BTreeMap<String, f64>,
    normalised_predictions: Vec<String>,
    ground_truth_after_eval: Vec<Vec<String>>,
}

fn vqa(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let golden: VqaGolden = expected(case, "vqa")?;
    let questions: Vec<Asked> = read(case, "vqa.json")?;
    let items: Vec<VqaItem<'_>> = questions
        .iter()
        .map(|question| VqaItem {
            prediction: &question.prediction,
            answers: &question.answers,
            answer_type: Some(&question.answer_type),
            question_type: Some(&question.question_type),
        })
        .collect();
    let found = VqaScores::of(&items)?;
    let mut compare = |name: &str, found: Values, golden: Values| {
        out.push(format!("expected/vqa/{name}"), found, golden, TWO_DECIMALS);
    };
    let scalar = Values::scalar;
    compare("overall", scalar(found.overall), scalar(golden.overall));
    for (kind, found, golden) in [
        (
            "per_answer_type",
            found.per_answer_type,
            golden.per_answer_type,
        ),
        (
            "per_question_type",
            found.per_question_type,
            golden.per_question_type,
        ),
    ] {
        // In the order of their names on either side; a type too many is another shape.
        compare(
            kind,
            numbers(found.into_values()),
            numbers(golden.into_values()),
        );
    }
    let mut per_question = Vec::with_capacity(questions.len());
    for question in &questions {
        let id = question.question_id.to_string();
        let Some(accuracy) = golden.per_question.get(&id) else {
            let key = format!("vqa/per_question/{id}");
            return Err(case.no_value(EXPECTED, &key, "number"));
        };
        per_question.push(*accuracy);
    }
    compare(
        "per_question",
        numbers(found.per_question),
        numbers(per_question),
    );
    let predictions = questions
        .iter()
        .map(|question| vqa_normalize(&question.prediction));
    let name = "vqa/normalised_predictions";
    strings(out, name, predictions, golden.normalised_predictions);
    let answers = questions
        .iter()
        .map(|question| vqa_cleaned_answers(&question.answers).join("\n"));
    let golden = golden.ground_truth_after_eval.iter();
    let golden = golden.map(|answers| answers.join("\n")).collect();
    strings(out, "vqa/ground_truth_after_eval", answers, golden);
    Ok(())
}

#[derive(Deserialize)]
struct GqaQuestion {
    prediction: String,
    answer: String,
}

#[derive(Deserialize)]
struct GqaGolden {
    accuracy: f64,
    hits: Vec<f64>,
}

fn gqa(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let golden: GqaGolden = expected(case, "gqa")?;
    let questions: Vec<GqaQuestion> = read(case, "gqa.json")?;
    let items: Vec<GqaItem<'_>> = questions
        .iter()
        .map(|question| GqaItem {
            prediction: &question.prediction,
            answer: &question.answer,
        })
        .collect();
    let found = GqaScores::of(&items)?;
    out.push(
        "expected/gqa/accuracy".to_owned(),
        Values::scalar(found.accuracy),
        Values::scalar(golden.accuracy),
        Rule::Relative(1e-12),
    );
    let hits = found.hits.into_iter().map(|hit| f64::from(u8::from(hit)));
    let name = "expected/gqa/hits".to_owned();
    out.push(name, numbers(hits), numbers(golden.hits), Rule::Exact);
    Ok(())
}

fn retrieval(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let scores = case.input("scores", [ANY, ANY])?;
    let [images, texts] = scores.dims();
    let image_of_text = case.indices("txt2img", [texts], images)?;
    let image_of_text: Vec<usize> = image_of_text
        .into_data()
        .iter::<i64>()
        .map(|image| image as usize)
        .collect();
    let images: Vec<usize> = (0..images).collect();
    let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
    let found = GroundTruth::new(&images, &image_of_text)?.scores(&scores)?;
    let golden = &case.expected["retrieval"];
    let mut compare = |name: &str, value: f64| {
        out.scalar(&format!("retrieval/{name}"), &golden[name], value, 1e-6);
    };
    for (side, recall) in [("txt", found.image_to_text), ("img", found.text_to_image)] {
        compare(&format!("{side}_r1"), recall.r1);
        compare(&format!("{side}_r5"), recall.r5);
        compare(&format!("{side}_r10"), recall.r10);
        compare(&format!("{side}_r_mean"), recall.mean());
    }
    compare("r_mean", found.r_mean);
    Ok(())
}

//! `seed eval captions`, `questions` and `language` as a user meets them.

mod running;

use std::{fs, path::Path};

use image::{Rgba, RgbaImage};
use running::{ok, pictures, seed, stderr, text};
use serde_json::{Value, json};

/// What `seed caption` and `seed ask` do by themselves, as settings of a benchmark.
const GREEDY: [&str; 2] = ["--beams=1", "--min-new-tokens=0"];

/// A file of JSON in a folder, by its path.
fn json_file(folder: &Path, name: &str, value: &Value) -> String {
    let path = folder.join(name);
    fs::write(&path, value.to_string()).unwrap();
    text(&path).to_owned()
}

/// Captions in COCO's format: a picture a pair.
fn coco(folder: &Path, captions: &[(&str, &str)]) -> String {
    let ids = || (1..).zip(captions);
    let images: Vec<Value> = ids()
        .map(|(id, (name, _))| json!({ "id": id, "file_name": name }))
        .collect();
    let annotations: Vec<Value> = ids()
        .map(|(id, (_, caption))| json!({ "id": id, "image_id": id, "caption": caption }))
        .collect();
    let all = json!({ "images": images, "annotations": annotations });
    json_file(folder, "captions.json", &all)
}

/// A question of GQA about `a.jpg`.
fn gqa(folder: &Path, answer: &str) -> String {
    fs::copy(folder.join("a.png"), folder.join("a.jpg")).unwrap();
    let all =
        json!({ "1": { "imageId": "a", "question": "Is this a symbol? ", "answer": answer } });
    json_file(folder, "questions.json", &all)
}

/// The command line of an evaluation, with settings behind.
fn evaluation<'a>(
    command: &'a str,
    folder: &'a Path,
    file: &'a str,
    settings: &[&'a str],
) -> Vec<&'a str> {
    let (benchmark, option) = match command {
        "captions" => ("coco", "--annotations"),
        _ => ("gqa", "--questions"),
    };
    let images = text(folder);
    let own = [
        "eval",
        command,
        "--benchmark",
        benchmark,
        "--images",
        images,
        option,
        file,
    ];
    [&own, settings].concat()
}

/// What the model said, by the file of predictions.
fn said(command: &str, folder: &Path, file: &str, settings: &[&str]) -> Vec<String> {
    let path = folder.join("said.json");
    let settings = [settings, &["--predictions", text(&path)]].concat();
    ok(&evaluation(command, folder, file, &settings));
    let all: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let key = ["caption", "prediction"]
        .into_iter()
        .find(|key| all[0].get(key).is_some());
    let text = |one: &Value| one[key.unwrap()].as_str().unwrap().to_owned();
    all.iter().map(text).collect()
}

#[test]
fn captions_of_a_benchmark_are_scored_from_its_own_files() {
    let folder = pictures();
    let folder = folder.path();
    let caption = ok(&["caption", text(&folder.join("a.png"))]);
    let captions = coco(
        folder,
        &[
            ("a.png", caption.trim()),
            ("b.png", "zebras discuss philosophy"),
        ],
    );
    let greedy = said("captions", folder, &captions, &GREEDY);
    assert_eq!(greedy[0], caption.trim());
    let table = ok(&evaluation("captions", folder, &captions, &GREEDY));
    assert!(table.contains("CIDEr") && table.contains("all"), "{table}");
    let first = [&GREEDY[..], &["--first", "1", "--format", "json"]].concat();
    let scores = ok(&evaluation("captions", folder, &captions, &first));
    let scores: Value = serde_json::from_str(&scores).unwrap();
    assert_eq!(scores[0]["images"], 1);
    assert!(scores[0]["rouge_l"].as_f64().unwrap() > 0.99, "{scores}");
}

#[test]
fn questions_of_a_benchmark_are_scored_from_its_own_files() {
    let folder = pictures();
    let folder = folder.path();
    let answer = ok(&["ask", text(&folder.join("a.png")), " Is this a symbol?"]);
    let questions = gqa(folder, answer.trim());
    let settings = [&GREEDY[..], &["--format", "json"]].concat();
    let scores = ok(&evaluation("questions", folder, &questions, &settings));
    let scores: Value = serde_json::from_str(&scores).unwrap();
    assert_eq!(scores["accuracy"], 100.0, "{scores}");

    let asked = json!({
        "data_subtype": "val2014",
        "questions": [{ "question_id": 70, "image_id": 7, "question": "Is this a symbol?" }],
    });
    let asked = json_file(folder, "vqa.json", &asked);
    let answers: Vec<Value> = (1..=10)
        .map(|id| json!({ "answer_id": id, "answer": answer.trim(), "answer_confidence": "yes" }))
        .collect();
    let answers = json!({ "annotations": [{
        "question_id": 70, "image_id": 7, "answers": answers,
        "answer_type": "yes/no", "question_type": "is this a", "multiple_choice_answer": answer.trim(),
    }] });
    let answers = json_file(folder, "answers.json", &answers);
    let vqa = [
        "eval",
        "questions",
        "--benchmark",
        "vqav2",
        "--images",
        text(folder),
        "--questions",
        &asked,
        "--annotations",
        &answers,
        "--format",
        "json",
        "--beams",
        "1",
    ];
    fs::copy(
        folder.join("a.png"),
        folder.join("COCO_val2014_000000000007.jpg"),
    )
    .unwrap();
    let scores: Value = serde_json::from_str(&ok(&vqa)).unwrap();
    assert_eq!(scores["accuracy"], 100.0, "{scores}");
}

#[test]
fn decoding_is_the_published_one_and_the_output_says_so() {
    let folder = pictures();
    let folder = folder.path();
    let captions = coco(folder, &[("a.png", "a red sign")]);
    let questions = gqa(folder, "yes");
    for (command, file, least, most, penalty) in [
        ("captions", &captions, 8, 30, 1.0),
        ("questions", &questions, 1, 10, 0.0),
    ] {
        let help = ok(&["eval", command, "--help"]);
        for (option, default) in [
            ("--beams", "5".to_owned()),
            ("--min-new-tokens", least.to_string()),
            ("--max-new-tokens", most.to_string()),
            ("--length-penalty", penalty.to_string()),
            ("--repetition-penalty", "1".to_owned()),
            ("--reference-decoding", "true".to_owned()),
        ] {
            let (_, of_option) = help
                .split_once(&format!("{option} "))
                .unwrap_or_else(|| help.split_once(&format!("{option}[")).expect(option));
            let (_, shown) = of_option.split_once("[default: ").unwrap();
            assert!(
                shown.starts_with(&format!("{default}]")),
                "{option}: {shown}"
            );
        }
        let written = |settings: &[&str]| {
            let settings = [settings, &["--format", "json"]].concat();
            let scores = ok(&evaluation(command, folder, file, &settings));
            let scores: Value = serde_json::from_str(&scores).unwrap();
            scores.get(0).unwrap_or(&scores).clone()
        };
        let scores = written(&[]);
        let beam = json!({ "beams": 5, "length_penalty": penalty, "early_stopping": false });
        assert_eq!(scores["decoding"], json!({ "beam": beam }));
        assert_eq!(scores["min_new_tokens"], least);
        assert_eq!(scores["max_new_tokens"], most);
        assert_eq!(scores["reference_decoding"], true);
        let table = ok(&evaluation(command, folder, file, &[]));
        let line = table.lines().last().unwrap();
        for part in ["5 beams", &format!("{least} to {most} new tokens")] {
            assert!(line.contains(part), "{line}");
        }

        let (least, most, penalty) = (least.to_string(), most.to_string(), penalty.to_string());
        let spelt_out = [
            "--beams",
            "5",
            "--min-new-tokens",
            &least,
            "--max-new-tokens",
            &most,
            "--length-penalty",
            &penalty,
        ];
        let published = said(command, folder, file, &[]);
        assert_eq!(published, said(command, folder, file, &spelt_out));

        // What is asked for wins.
        assert_eq!(written(&["--beams", "1"])["decoding"], "greedy");
        let drawn = written(&["--top-p", "0.5", "--seed", "3", "--max-new-tokens", "9"]);
        assert_eq!(drawn["decoding"]["sample"]["top_p"], 0.5);
        assert_eq!(drawn["decoding"]["sample"]["seed"], 3);
        assert_eq!(drawn["max_new_tokens"], 9);
        for conflict in [
            ["--beams=3", "--temperature=1"],
            ["--length-penalty=1", "--top-p=0.5"],
            ["--beams=3", "--seed=1"],
        ] {
            let output = seed(&evaluation(command, folder, file, &conflict));
            assert_eq!(output.status.code(), Some(2), "{conflict:?}");
        }
        let contrary = ["--min-new-tokens", "9", "--max-new-tokens", "5"];
        let output = seed(&evaluation(command, folder, file, &contrary));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("min_new_tokens is 9"));
    }
    // The nano model's captions are a few words long.
    let short = said("captions", folder, &captions, &["--min-new-tokens", "0"]);
    let published = said("captions", folder, &captions, &[]);
    assert!(
        published[0].len() > short[0].len(),
        "{published:?} {short:?}"
    );
}

#[test]
fn pictures_are_read_as_the_reference_does() {
    let folder = pictures();
    let folder = folder.path();
    let picture = folder.join("hidden.png");
    // A drawing in colours that its transparency hides.
    let drawing = image::open(folder.join("a.png")).unwrap().into_rgb8();
    RgbaImage::from_fn(40, 40, |x, y| {
        let [r, g, b] = drawing.get_pixel(x, y).0;
        Rgba([r, g, b, 0])
    })
    .save(&picture)
    .unwrap();
    let caption = |settings: &[&str]| {
        let arguments = [&["caption", text(&picture)], settings].concat();
        ok(&arguments).trim().to_owned()
    };
    let (seen, read) = (caption(&[]), caption(&["--reference-decoding"]));
    assert_ne!(seen, read);
    let captions = coco(folder, &[("hidden.png", "a red sign")]);
    let otherwise = [&GREEDY[..], &["--reference-decoding=false"]].concat();
    assert_eq!(said("captions", folder, &captions, &GREEDY), [read]);
    assert_eq!(said("captions", folder, &captions, &otherwise), [seen]);
}

#[test]
fn pictures_are_checked_before_any_work() {
    let folder = pictures();
    let folder = folder.path();
    let missing: Vec<String> = (1..8)
        .map(|number| format!("missing{number}.png"))
        .collect();
    let names = || {
        ["a.png"]
            .into_iter()
            .chain(missing.iter().map(String::as_str))
    };
    let all: Vec<_> = names().map(|name| (name, "a red sign")).collect();
    let cases = [
        (&all[..], "7 of 8 pictures"),
        (
            &[("a.png", "x"), ("../a.png", "x")],
            "`images[1].file_name`",
        ),
        (&[("", "x")], "`images[0].file_name`"),
    ];
    for (entries, told) in cases {
        let file = coco(folder, entries);
        // Not even the language model is looked for.
        let arguments = evaluation("captions", folder, &file, &["--lm", "no-such-run"]);
        let output = seed(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let error = stderr(&output);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(told), "{error}");
    }
    let file = coco(folder, &all);
    let error = stderr(&seed(&evaluation("captions", folder, &file, &[])));
    assert!(
        error.contains("missing5.png") && !error.contains("missing6.png"),
        "{error}"
    );
    ok(&evaluation("captions", folder, &file, &["--first", "1"]));
}

/// Drawings are told apart by what training knew of their prompts, and every share says of how many.
#[test]
fn a_language_model_is_judged_on_prompts_that_training_never_saw() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("judged");
    let arguments = ["eval", "language", "--most", "6", "--format", "json"];
    let report = ok(&[&arguments[..], &["--report", text(&out), "--quiet"]].concat());
    let report: Value = serde_json::from_str(&report).unwrap();
    let drawings = report["drawings"].as_array().unwrap();
    let kinds: Vec<&str> = drawings
        .iter()
        .map(|result| result["kind"].as_str().unwrap())
        .collect();
    let kinds: std::collections::BTreeSet<&str> = kinds.into_iter().collect();
    let expected = ["other words", "recall", "unseen concepts"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    assert!(drawings.iter().all(|result| result["r1"]["of"] == 6));
    let nouns = report["nouns"].as_array().unwrap();
    assert_eq!(nouns.len(), 2);
    assert!(nouns.iter().all(|result| result["well_formed"]["of"] == 6));
    assert_eq!(report["captions"].as_array().unwrap().len(), 4);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("other words"));
    assert!(out.join("language.json").is_file());
}

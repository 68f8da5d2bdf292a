//! The report of a language model: what its page and its tables hold, what the page must not, and what survives
//! the disk.

mod made_up;

use std::{fs, path::Path};

use made_up::{CAPTIONS, drawing, noisy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seed_eval::{
    EvalError, SetName,
    language::{
        AnsweredPicture, CaptionResult, CaptionedPicture, DrawnCaption, ImageResult,
        LanguageReport, QuestionResult,
    },
    report::{CaptionMatch, Curve, Headline, Png, Series, Stage},
};

const SETS: [(&str, &str, &str, usize, f64); 4] = [
    ("validation", "emojione", "seen", 1370, 1.0),
    ("validation", "emojione", "unseen", 274, 0.31),
    ("test", "openmoji", "seen", 1370, 0.84),
    ("test", "openmoji", "unseen", 274, 0.22),
];

/// Something done to a report, to see what becomes of its page.
type Change = fn(&mut LanguageReport);

/// A report as a full run would make it; the figures are invented.
fn sample() -> LanguageReport {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let report = LanguageReport {
        title: "nano language model on emoji, seed 0".into(),
        summary: Some(
            "A frozen language model of 11 million parameters, taught by LoRA to read and write the \
             tokenizer's 32 codes; trained on four vendors' emoji, tested on a fifth and on concepts \
             it never saw."
                .into(),
        ),
        facts: vec![
            pair("device", "flex (CPU, 2 threads)"),
            pair("commit", "0123abc"),
            pair("seed", "0"),
            pair("training", "612 s"),
            pair("all", "803 s"),
            pair("trainable parameters", "1,184,256"),
        ],
        command: Some("cargo run --release --example train_language -- --seed 0".into()),
        config: Some("preset = \"nano\"\nsteps = 2000\n\n[lora]\nrank = 16\nalpha = 32\n".into()),
        headlines: vec![
            Headline::new("exact captions, seen", 41.6)
                .unit("%")
                .at_least(30.0)
                .note("test vendor"),
            Headline::new("right answers, seen", 78.3)
                .unit("%")
                .at_least(60.0),
            Headline::new("images found, R@1", 12.4)
                .unit("%")
                .at_least(15.0)
                .note("test vendor, seen"),
            Headline::new("well-formed images", 99.3)
                .unit("%")
                .at_least(99.0),
            Headline::new("human rating", f64::NAN).note("not asked for in this run"),
        ],
        warnings: vec!["Captions of flags are left out.".into()],
        stages: vec![
            Stage::new("Adapter training")
                .note("2,000 steps of 64 examples in 10 min 12 s; a third captions, a third questions, a third images.")
                .curve(
                    Curve::new("Loss")
                        .series(Series::new("captions", noisy(2000, 5.9, 0.8, &mut rng)))
                        .series(Series::new("answers", noisy(2000, 3.1, 0.4, &mut rng)))
                        .series(Series::new("images", noisy(2000, 6.3, 3.2, &mut rng))),
                )
                .curve(
                    Curve::new("Gradient norm")
                        .log()
                        .series(Series::new("norm", noisy(2000, 4.0, 0.3, &mut rng))),
                ),
        ],
        ..LanguageReport::default()
    };
    with_pictures(with_sets(report, &mut rng))
}

fn with_sets(mut report: LanguageReport, rng: &mut impl RngExt) -> LanguageReport {
    for (split, source, concepts, count, scale) in SETS {
        let seen = concepts == "seen";
        let set = SetName::new(split, source, concepts);
        report.captions.push(CaptionResult {
            set: set.clone(),
            pictures: count,
            exact: 49.5 * scale,
            cider: 4.61 * scale,
            bleu4: 0.52 * scale,
            rouge_l: 0.66 * scale,
            perplexity: 2.41 / scale,
            most_frequent: 0.4,
            continuous: seen.then_some(55.1 * scale),
        });
        report.questions.push(QuestionResult {
            set: set.clone(),
            questions: 3 * count,
            accuracy: 60.0 + 20.0 * scale,
            blind: 58.2,
        });
        let code = |at: usize| 140.0 * (1.0 - (-(at as f64) / 6.0).exp()) / scale.sqrt();
        report.images.push(ImageResult {
            set,
            captions: count,
            well_formed: 99.3,
            r1: 14.8 * scale,
            r5: 33.0 * scale,
            r10: 44.7 * scale,
            chance_r1: 100.0 / count as f64,
            perplexity: 71.3 / scale.sqrt(),
            perplexity_by_position: (0..34)
                .map(|at| match at {
                    0 | 33 => 1.0,
                    at => code(at) * rng.random_range(0.9..1.1),
                })
                .collect(),
        });
    }
    report
}

fn with_pictures(mut report: LanguageReport) -> LanguageReport {
    let caption = |i: u32| CAPTIONS[i as usize % CAPTIONS.len()].to_string();
    let picture = |i| Png::new(&drawing(i)).unwrap();
    let source = |i: u32| match i % 3 {
        0 => "openmoji, unseen".to_owned(),
        _ => "openmoji, seen".to_owned(),
    };
    for i in 0..9 {
        let right = i % 4 != 1;
        report.captioned.push(CaptionedPicture {
            picture: picture(i),
            source: source(i),
            reference: caption(i),
            caption: if right { caption(i) } else { caption(i + 1) },
            right,
        });
    }
    for (i, (question, reference)) in [
        ("is this an animal?", "yes"),
        ("what group is this of?", "food & drink"),
        ("is there a face in the picture?", "no"),
        ("which way does the person look?", "right"),
        ("what colour is it?", "green"),
        ("is this a flag?", "no"),
    ]
    .into_iter()
    .enumerate()
    {
        let (i, right) = (i as u32, i != 3);
        report.answered.push(AnsweredPicture {
            picture: picture(i + 20),
            source: source(i),
            question: question.into(),
            answer: if right { reference } else { "left" }.into(),
            reference: reference.into(),
            right,
        });
    }
    for i in 0..6 {
        let formed = i != 4;
        let found = |rank| CaptionMatch {
            caption: caption(i + rank),
            score: 0.64 - 0.07 * rank as f32,
            hit: rank == 0 && i % 3 != 1,
        };
        report.drawn.push(DrawnCaption {
            caption: caption(i),
            codes: (0..32)
                .filter(|_| formed)
                .map(|at| (at * 131 + i * 47) % 512)
                .collect(),
            matches: (0..4).filter(|_| formed).map(found).collect(),
            neighbours: (0..3)
                .filter(|_| formed)
                .map(|near| picture(i + 7 * near))
                .collect(),
        });
    }
    report
}

#[test]
fn terminal_table() {
    let mut report = sample();
    report.captions[1].cider = f64::NAN;
    insta::assert_snapshot!(report.terminal_table());
}

#[test]
fn survives_the_disk() {
    // Kept in the target folder, so that the page can be looked at.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-language");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let mut report = sample();
    report.headlines.pop();
    report.save(&folder).unwrap();
    // Not `assert_eq!`: a report is too long to print.
    assert!(LanguageReport::load(&folder.join("language.json")).unwrap() == report);
    assert_eq!(
        fs::read_to_string(folder.join("report.html")).unwrap(),
        report.html()
    );
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    // With what was not measured, for the eye.
    sample().save(&folder).unwrap();
}

#[test]
fn what_was_not_measured_survives_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = sample();
    report.captions[0].cider = f64::NAN;
    report.questions[0].blind = f64::NAN;
    report.images[0].perplexity_by_position[3] = f64::NAN;
    report.drawn[0].matches[0].score = f32::NAN;
    report.save(folder.path()).unwrap();
    let back = LanguageReport::load(&folder.path().join("language.json")).unwrap();
    assert!(back.captions[0].cider.is_nan() && back.questions[0].blind.is_nan());
    assert!(back.images[0].perplexity_by_position[3].is_nan());
    assert!(back.drawn[0].matches[0].score.is_nan());
    assert_eq!(
        back.images[0].perplexity_by_position[4..],
        report.images[0].perplexity_by_position[4..]
    );
    assert_eq!(back.html(), report.html());
}

#[test]
fn reads_what_has_tables_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("language.json");
    let old = r#"{"facts": [["seed", "0"]], "captions": [], "images": [], "questions": [{"split": "test",
        "source": "openmoji", "concepts": "seen", "questions": 4, "accuracy": 75.0, "blind": 50.0}]}"#;
    fs::write(&path, old).unwrap();
    let report = LanguageReport::load(&path).unwrap();
    assert_eq!(
        report.questions[0].set.to_string(),
        "test · openmoji · seen"
    );
    assert_eq!(report.title, "");
    assert!(report.html().contains("<h1>Language model</h1>"));
    let table = report.terminal_table();
    assert!(table.contains("75.0") && table.contains("openmoji"));
    assert!(!table.contains("captions"));

    fs::write(&path, "{").unwrap();
    let error = LanguageReport::load(&path).unwrap_err();
    assert!(matches!(error, EvalError::Json { path: named, .. } if named == path));
}

#[test]
fn says_which_file_failed() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("report.html");
    fs::create_dir(&taken).unwrap();
    let error = sample().save(folder.path()).unwrap_err();
    assert!(
        matches!(&error, EvalError::Io { path, .. } if *path == taken),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "no leftovers"
    );
}

#[test]
fn escapes_what_it_did_not_write() {
    let evil = "<script>alert(1)</script>\" onerror=\"alert(2)";
    let places: [fn(&mut LanguageReport) -> &mut String; 20] = [
        |report| &mut report.title,
        |report| report.summary.as_mut().unwrap(),
        |report| report.command.as_mut().unwrap(),
        |report| report.config.as_mut().unwrap(),
        |report| &mut report.facts[0].0,
        |report| &mut report.facts[0].1,
        |report| &mut report.warnings[0],
        |report| &mut report.headlines[0].label,
        |report| &mut report.stages[0].name,
        |report| &mut report.captions[0].set.source,
        |report| &mut report.questions[0].set.source,
        |report| &mut report.images[0].set.source,
        |report| &mut report.captioned[0].source,
        |report| &mut report.captioned[0].reference,
        |report| &mut report.captioned[0].caption,
        |report| &mut report.answered[0].question,
        |report| &mut report.answered[0].answer,
        |report| &mut report.answered[0].reference,
        |report| &mut report.drawn[0].caption,
        |report| &mut report.drawn[0].matches[0].caption,
    ];
    let plain = sample();
    for (at, place) in places.into_iter().enumerate() {
        let mut report = plain.clone();
        evil.clone_into(place(&mut report));
        let html = report.html();
        assert!(!html.contains("<script"), "place {at}");
        assert!(!html.contains("\" onerror"), "place {at}");
        assert!(html.contains("&lt;script&gt;alert(1)"), "place {at}");
    }
}

#[test]
fn loads_nothing_from_elsewhere() {
    made_up::loads_nothing_from_elsewhere(&sample(), &sample().html());
}

#[test]
fn leaves_out_what_is_missing() {
    let empty = LanguageReport {
        title: "only a title".into(),
        ..LanguageReport::default()
    };
    for part in [
        "<section", "<table", "<svg", "<aside", "<dl", "<img", "<pre", "<details",
    ] {
        assert!(!empty.html().contains(part), "{part}");
    }
    assert_eq!(empty.terminal_table(), "");

    let full = sample();
    let parts: [(&str, Change); 7] = [
        (">Captions<", |report| report.captions.clear()),
        (">Questions<", |report| report.questions.clear()),
        (">Images<", |report| report.images.clear()),
        ("Perplexity by position", |report| {
            let images = report.images.iter_mut();
            images.for_each(|result| result.perplexity_by_position.clear());
        }),
        ("What it says of pictures", |report| {
            report.captioned.clear();
        }),
        ("What it answers", |report| report.answered.clear()),
        ("What it draws", |report| report.drawn.clear()),
    ];
    for (part, clear) in parts {
        assert!(full.html().contains(part), "{part}");
        let mut without = full.clone();
        clear(&mut without);
        assert!(!without.html().contains(part), "{part}");
    }
}

#[test]
fn shows_a_dash_for_what_is_no_number() {
    let mut report = sample();
    report.captions.truncate(1);
    report.captions[0].exact = f64::NAN;
    report.captions[0].continuous = None;
    report.questions[0].accuracy = f64::NAN;
    report.images[0].r1 = f64::INFINITY;
    report.images[0].perplexity_by_position[3] = f64::NAN;
    report.images[1].perplexity_by_position.fill(f64::NAN);
    report.captioned[0].caption = " ".into();
    report.drawn[0].matches[0].score = f32::NAN;
    let html = report.html();
    assert!(!html.contains("NaN") && !html.contains("inf<"));
    assert!(html.contains("style=\"--v:0.0\">–</td><td class=\"quiet\">–</td>"));
    assert!(html.contains("code 3: perplexity –"));
    assert!(html.contains("<p class=\"caption\">–\u{a0}<span class=\"tick\""));
    assert_eq!(
        html.matches("<strong>Perplexity by position</strong>")
            .count(),
        3
    );
}

#[test]
fn says_what_the_model_did() {
    let html = sample().html();
    let count = |part: &str| html.matches(part).count();
    assert_eq!((count(">✓</span>"), count(">✗</span>")), (12, 3));
    assert_eq!(
        count("reference: "),
        3,
        "only where something else was said"
    );
    assert_eq!((count(" · not found"), count(" · not an image")), (1, 1));
    assert_eq!(count("<summary>32 codes</summary>"), 5);
    assert!(html.contains("opening mark: perplexity 1.0"));
    assert!(html.contains("closing mark: perplexity 1.0"));
    assert!(html.contains("test · openmoji · unseen<small>274 pictures</small>"));
    assert!(html.contains("<p class=\"value\">–</p>"));
}

#[test]
fn warns_of_what_the_figures_show() {
    let mut report = sample();
    let warnings = report.all_warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(
        warnings[1],
        "Not reached: images found, R@1 is 12.4 %, hoped for ≥ 15.0 %."
    );
    report.captions[1].exact = 0.3;
    report.questions[2].accuracy = 58.2;
    report.images[3].r1 = 0.0;
    let warnings = report.all_warnings();
    for (at, part) in [
        "On validation · emojione · unseen the captions (0.3 % exact)",
        "On test · openmoji · seen the answers (58.2 % right)",
        "On test · openmoji · unseen the images find their caption (R@1 0.0 %)",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(warnings[2 + at].starts_with(part), "{warnings:?}");
    }
}

#[test]
fn puts_the_run_without_codes_beside() {
    let report = sample();
    let mut continuous = report.clone();
    continuous.captions.remove(1);
    continuous.captions[0].exact = 77.0;
    let found = report.beside(&continuous);
    assert_eq!(found.captions[0].continuous, Some(77.0));
    assert_eq!(found.captions[1].continuous, None, "it has no such set");
}

//! The report of a language model: what its page and its tables hold, what the page must not, and what survives
//! the disk.

mod made_up;

use std::{collections::BTreeMap, fs, path::Path};

use made_up::{CAPTIONS, drawing, noisy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seed_eval::{
    Asked, EvalError, Figure, Score, SetName, Share, Target, Verdict,
    language::{
        AnsweredPicture, CaptionResult, CaptionedPicture, CodePerplexity, DrawingResult,
        DrawnCaption, LanguageReport, NounResult, PromptKind, QuestionResult,
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
    with_pictures(with_drawings(with_sets(report, &mut rng)).judge(&targets()))
}

const SEEN: &str = "test openmoji, seen";

/// As an experiment's config would ask.
fn targets() -> Vec<Target> {
    let at_least = |score, set, hits, of| {
        let asked = Asked::AtLeast(Share::new(hits, of).into());
        Target::new(score, set, asked).unwrap()
    };
    vec![
        at_least(Score::ExactCaptions, SEEN, 411, 1370),
        at_least(Score::RightAnswers, SEEN, 2466, 4110),
        at_least(Score::OtherWordsR1, SEEN, 206, 1370),
        at_least(Score::NounsWellFormed, "greedy", 4950, 5000),
        at_least(Score::RecallR1, SEEN, 411, 1327),
    ]
}

/// A share as near as possible to a percentage.
fn share(percent: f64, of: usize) -> Share {
    Share::new((percent / 100.0 * of as f64).round() as usize, of)
}

fn with_sets(mut report: LanguageReport, rng: &mut impl RngExt) -> LanguageReport {
    for (split, source, concepts, count, scale) in SETS {
        let seen = concepts == "seen";
        let set = SetName::new(split, source, concepts);
        report.captions.push(CaptionResult {
            set: set.clone(),
            pictures: count,
            exact: share(49.5 * scale, count),
            cider: 4.61 * scale,
            bleu4: 0.52 * scale,
            rouge_l: 0.66 * scale,
            perplexity: 2.41 / scale,
            most_frequent_caption: share(0.4, count),
            continuous: seen.then_some(share(55.1 * scale, count)),
        });
        report.questions.push(QuestionResult {
            set: set.clone(),
            questions: 3 * count,
            accuracy: share(60.0 + 20.0 * scale, 3 * count),
            other_picture: share(41.7, 3 * count),
            most_frequent_answer: share(58.2, 3 * count),
        });
        let code = |at: usize| 140.0 * (1.0 - (-(at as f64) / 6.0).exp()) / scale.sqrt();
        let codes = (1..=32).map(|at| code(at) * rng.random_range(0.9..1.1));
        report.code_perplexity.push(CodePerplexity {
            set,
            pictures: count,
            codes: 81.3 / scale.sqrt(),
            marks: 1.02,
            by_position: codes.collect(),
        });
    }
    report
}

fn with_drawings(mut report: LanguageReport) -> LanguageReport {
    for (kind, concepts, count, scale) in [
        (PromptKind::UnseenConcepts, "unseen", 274, 0.1),
        (PromptKind::Recall, "seen", 1370, 1.0),
        (PromptKind::OtherWords, "seen", 1370, 0.19),
    ] {
        report.drawings.push(DrawingResult {
            kind,
            set: SetName::new("test", "openmoji", concepts),
            prompts: count,
            candidates: count,
            well_formed: share(99.3, count),
            r1: share(65.4 * scale, count),
            r5: share(83.0 * scale, count),
            r10: share(94.7 * scale, count),
            chance_r1: 100.0 / count as f64,
            malformed_lengths: BTreeMap::from([(31, count / 274), (33, count / 300)]),
        });
    }
    for (decoding, percent, lengths) in [
        ("greedy", 97.1, [(30, 3), (31, 92), (33, 50)]),
        (
            "sampled, temperature 1, top-p 0.5",
            93.2,
            [(31, 201), (33, 120), (64, 19)],
        ),
    ] {
        report.nouns.push(NounResult {
            decoding: decoding.into(),
            well_formed: share(percent, 5000),
            malformed_lengths: BTreeMap::from(lengths),
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
            kind: PromptKind::ALL[i as usize % 3],
            caption: caption(i),
            well_formed: formed,
            codes: (0..if formed { 32 } else { 31 })
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
    let table = report.terminal_table();
    let tables = table.lines().filter(|line| !line.contains("asked"));
    for line in tables {
        assert!(line.chars().count() <= 120, "{line}");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn survives_the_disk() {
    // Kept in the target folder, so that the page can be looked at.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-language");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let mut report = sample();
    report.headlines.remove(0);
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
    report.questions[0].other_picture = Share::default();
    report.code_perplexity[0].by_position[3] = f64::NAN;
    report.drawn[0].matches[0].score = f32::NAN;
    report.save(folder.path()).unwrap();
    let back = LanguageReport::load(&folder.path().join("language.json")).unwrap();
    assert!(back.captions[0].cider.is_nan() && !back.questions[0].other_picture.is_measured());
    assert!(back.code_perplexity[0].by_position[3].is_nan());
    assert!(back.drawn[0].matches[0].score.is_nan());
    assert_eq!(
        back.code_perplexity[0].by_position[4..],
        report.code_perplexity[0].by_position[4..]
    );
    assert_eq!(back.html(), report.html());
}

#[test]
fn reads_what_has_tables_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("language.json");
    let old = r#"{"facts": [["seed", "0"]], "captions": [], "nouns": [], "questions": [{"split": "test",
        "source": "openmoji", "concepts": "seen", "questions": 4, "accuracy": {"hits": 3, "of": 4},
        "other_picture": {"hits": 2, "of": 4}, "most_frequent_answer": {"hits": 2, "of": 4}}]}"#;
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
    let places: [fn(&mut LanguageReport) -> &mut String; 23] = [
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
        |report| &mut report.drawings[0].set.source,
        |report| &mut report.nouns[0].decoding,
        |report| &mut report.code_perplexity[0].set.source,
        |report| &mut report.headlines[1].set,
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
    let parts: [(&str, Change); 9] = [
        (">Captions<", |report| report.captions.clear()),
        (">Questions<", |report| report.questions.clear()),
        (">Drawings<", |report| report.drawings.clear()),
        (">Nouns<", |report| report.nouns.clear()),
        (">Perplexity of held-out codes<", |report| {
            report.code_perplexity.clear();
        }),
        ("Perplexity by position", |report| {
            let sets = report.code_perplexity.iter_mut();
            sets.for_each(|result| result.by_position.clear());
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
    report.captions[0].exact = Share::default();
    report.captions[0].continuous = None;
    report.questions[0].accuracy = Share::default();
    report.drawings[0].r1 = Share::default();
    report.drawings[0].chance_r1 = f64::INFINITY;
    report.code_perplexity[0].by_position[3] = f64::NAN;
    report.code_perplexity[1].by_position.fill(f64::NAN);
    report.captioned[0].caption = " ".into();
    report.drawn[0].matches[0].score = f32::NAN;
    let html = report.html();
    assert!(!html.contains("NaN") && !html.contains("inf<"));
    assert!(html.contains("style=\"--v:0.0\">–</td><td class=\"quiet\">–</td>"));
    assert!(html.contains("code 4: perplexity –"));
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
    assert_eq!(
        (count(" · not found"), count(" · malformed: 31 codes")),
        (1, 1)
    );
    assert_eq!(count("<summary>32 codes</summary>"), 5);
    assert_eq!(count("<summary>31 codes</summary>"), 1);
    assert_eq!(count("<p class=\"quiet\">other words</p>"), 2);
    assert!(html.contains("test · openmoji · unseen<small>274 pictures</small>"));
    assert!(html.contains("<p class=\"value\">–<span"));
}

#[test]
fn tells_drawings_apart_by_their_prompts() {
    let html = sample().html();
    let at = |part: &str| html.find(part).unwrap_or_else(|| panic!("{part}"));
    let kinds = PromptKind::ALL.map(|kind| {
        at(&format!(
            "<span>{kind}</span><small>{}</small>",
            kind.meaning()
        ))
    });
    assert!(kinds.is_sorted(), "in the order of what training knew");
    assert!(kinds[1] < at("12.4<span class=\"error\"> ± 0.9</span>"));
    assert!(html.contains("274 prompts, 274 candidates"));
    assert!(html.contains("sampled, temperature 1, top-p 0.5<small>5,000 nouns</small>"));
    assert!(html.contains("31×92 33×50 30×3"));
    assert!(!html.to_lowercase().contains("blind"));
    let json = serde_json::to_string(&sample()).unwrap();
    for part in [
        r#""kind":"recall""#,
        r#""kind":"other words""#,
        r#""kind":"unseen concepts""#,
        r#""malformed_lengths":{"30":3,"31":92,"33":50}"#,
    ] {
        assert!(json.contains(part), "{part}");
    }
}

#[test]
fn warns_of_what_the_figures_show() {
    let mut report = sample();
    let warnings = report.all_warnings();
    let own = "Captions of flags are left out.";
    assert_eq!(
        warnings,
        [
            own,
            "Not reached: other_words_r1 (test openmoji, seen): 170 of 1,370, asked at least 206 of 1,370.",
            "Not reached: nouns_well_formed (greedy): 4,855 of 5,000, asked at least 4,950 of 5,000.",
            "Not compared: recall_r1 (test openmoji, seen): asked of 1,327, 1,370 were judged.",
        ]
    );
    report.headlines.clear();
    assert_eq!(report.all_warnings(), [own]);
    report.captions[1].exact = Share::new(1, 274);
    report.captions[2].exact = Share::default();
    report.questions[1].accuracy = Share::new(342, 822);
    report.questions[2].accuracy = report.questions[2].most_frequent_answer;
    report.drawings[0].r1 = Share::new(1, 274);
    assert_eq!(
        report.all_warnings()[1..],
        [
            "On validation · emojione · unseen the captions, 0.4 % (1 of 274) exact, do no better than the most frequent \
             one: 0.4 % (1 of 274).",
            "On validation · emojione · unseen the answers, 41.6 % (342 of 822) right, do no better than those about \
             another picture: 41.7 % (343 of 822).",
            "On validation · emojione · unseen the answers, 41.6 % (342 of 822) right, do no better than the most \
             frequent answer: 58.2 % (478 of 822).",
            "On test · openmoji · seen the answers, 58.2 % (2,392 of 4,110) right, do no better than the most frequent \
             answer: 58.2 % (2,392 of 4,110).",
            "On unseen concepts, test · openmoji · unseen, the drawings find their prompt no more often than by chance: \
             R@1 0.4 % (1 of 274), chance 0.36 %.",
        ]
    );
}

#[test]
fn every_score_is_found_by_its_name() {
    let report = sample();
    for (score, set, figure) in [
        (
            Score::ExactCaptions,
            SEEN,
            Figure::from(report.captions[2].exact),
        ),
        (Score::Cider, SEEN, report.captions[2].cider.into()),
        (
            Score::CaptionPerplexity,
            SEEN,
            report.captions[2].perplexity.into(),
        ),
        (Score::RougeL, SEEN, report.captions[2].rouge_l.into()),
        (Score::Bleu4, SEEN, report.captions[2].bleu4.into()),
        (
            Score::RightAnswers,
            SEEN,
            report.questions[2].accuracy.into(),
        ),
        (
            Score::UnseenConceptsR10,
            "test · openmoji · unseen",
            report.drawings[0].r10.into(),
        ),
        (
            Score::RecallWellFormed,
            SEEN,
            report.drawings[1].well_formed.into(),
        ),
        (Score::OtherWordsR5, SEEN, report.drawings[2].r5.into()),
        (
            Score::NounsWellFormed,
            "sampled temperature 1 top-p 0.5",
            report.nouns[1].well_formed.into(),
        ),
        (
            Score::CodePerplexity,
            SEEN,
            report.code_perplexity[2].codes.into(),
        ),
    ] {
        assert_eq!(report.figure(score, set), Some(figure), "{score}");
        assert_eq!(matches!(figure, Figure::Share(_)), score.is_share());
    }
    assert_eq!(
        report.figure(Score::RecallR1, "test openmoji, unseen"),
        None
    );
    assert_eq!(report.figure(Score::ImageToTextR1, SEEN), None);
    let verdicts: Vec<_> = report.headlines.iter().map(Headline::verdict).collect();
    let [reached, missed] = [Verdict::Reached, Verdict::NotReached].map(Some);
    let other = Some(Verdict::NotCompared);
    assert_eq!(verdicts, [None, reached, reached, missed, missed, other]);
}

#[test]
fn puts_the_run_without_codes_beside() {
    let report = sample();
    let mut continuous = report.clone();
    continuous.captions.remove(1);
    continuous.captions[0].exact = Share::new(1055, 1370);
    let found = report.beside(&continuous);
    assert_eq!(found.captions[0].continuous, Some(Share::new(1055, 1370)));
    assert_eq!(found.captions[1].continuous, None, "it has no such set");
}

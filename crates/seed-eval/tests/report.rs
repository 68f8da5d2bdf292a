//! The report: what the page holds, what it must not, and what survives the disk.

mod made_up;

use std::{f64::consts::PI, fs, path::Path};

use made_up::{CAPTIONS, drawing, noisy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seed_eval::{
    Asked, CodebookHealth, EvalError, Figure, GroundTruth, Recall, Report, RetrievalScores, Score,
    SetName, Share, Target, Verdict,
    report::{
        CaptionMatch, CodeExample, CodeGallery, Curve, Headline, NearestCaptions, Png,
        RetrievalResult, Series, Stage,
    },
};
use serde::{Deserialize, Serialize};

/// A report as a full run would make it; the figures are invented.
fn sample() -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let report = Report::new("nano on emoji, seed 0")
        .summary(
            "The SEED tokenizer at nano size, both stages, trained on four vendors' emoji and \
             tested on drawings and concepts it never saw.",
        )
        .fact("device", "flex (CPU, 2 threads)")
        .fact("commit", "0123abc")
        .fact("seed", "0")
        .fact("date", "2026-01-01 12:00 UTC")
        .fact("time", "8 min 41 s")
        .fact("trainable parameters", "3,214,592")
        .command("cargo run --release --example train_tokenizer -- --device flex --seed 0")
        .config("preset = \"nano\"\n\n[stage1]\nsteps = 4000\n\n[stage2]\nsteps = 3000\n");
    let report = with_curves(report, &mut rng);
    let report = with_retrieval(report);
    let code = |_| (512.0 * 0.72 * rng.random::<f64>().powi(2)) as u32;
    let codes: Vec<u32> = (0..1370 * 32).map(code).collect();
    let report = report.codebook(CodebookHealth::measure(&codes, 32, 512).unwrap());
    with_pictures(with_headlines(report).judge(&targets()))
}

const SEEN: &str = "test openmoji, seen";
const UNSEEN: &str = "test openmoji, unseen";

fn with_headlines(report: Report) -> Report {
    let headline = |label, score, set| {
        let figure = report.figure(score, set).unwrap();
        Headline::new(label, figure).of(score, set)
    };
    let figures = [
        headline("R@1 image→text", Score::ImageToTextR1, SEEN),
        headline("R@1 image→text", Score::ImageToTextR1, UNSEEN).note("the control"),
        headline("lost by the codes", Score::LostByCodes, SEEN).unit("points"),
        headline("codebook in use", Score::CodebookInUse, ""),
    ];
    figures.into_iter().fold(report, Report::headline)
}

/// As an experiment's config would ask; the last is of no headline above.
fn targets() -> Vec<Target> {
    let share = |hits, of| Figure::from(Share::new(hits, of));
    let target = |score, set, asked| Target::new(score, set, asked).unwrap();
    vec![
        target(Score::ImageToTextR1, SEEN, Asked::AtLeast(share(345, 1370))),
        target(Score::ImageToTextR1, UNSEEN, Asked::AtLeast(share(60, 274))),
        target(Score::LostByCodes, SEEN, Asked::AtMost(3.3.into())),
        target(Score::CodesRMean, SEEN, Asked::AtLeast(30.0.into())),
    ]
}

fn with_curves(report: Report, rng: &mut impl RngExt) -> Report {
    let mut noisy = |steps, from, to| noisy(steps, from, to, rng);
    let warm_up_and_cosine = |step: u32| {
        let done = f64::from(step) / 4000.0;
        5e-4 * (f64::from(step) / 200.0).min(0.5 + 0.5 * (PI * done).cos())
    };
    let rate = (0..4000)
        .step_by(20)
        .map(|step| (f64::from(step), warm_up_and_cosine(step)));
    let validation = [(500.0, 3.9), (1500.0, 3.1), (2500.0, 2.8), (3995.0, 2.75)];
    report
        .stage(
            Stage::new("Stage I: causal Q-Former")
                .note("4,000 steps of 128 pairs in 4 min 50 s, from cached patch features.")
                .curve(
                    Curve::new("ITC loss")
                        .series(Series::new("train", noisy(4000, 5.2, 2.1)))
                        .series(Series::new("validation", validation)),
                )
                .curve(
                    Curve::new("ITC accuracy in the batch")
                        .unit("%")
                        .series(Series::new("image→text", noisy(4000, 2.0, 61.0)))
                        .series(Series::new("text→image", noisy(4000, 2.0, 55.0))),
                )
                .curve(Curve::new("Learning rate").series(Series::new("LR", rate))),
        )
        .stage(
            Stage::new("Stage II: codes")
                .note("3,000 steps of 128 from cached causal embeddings in 2 min 20 s.")
                .curve(
                    Curve::new("Loss parts")
                        .log()
                        .series(Series::new("quantiser", noisy(3000, 1.4, 0.03)))
                        .series(Series::new("reconstruction", noisy(3000, 0.9, 0.19)))
                        .series(Series::new("generation", noisy(3000, 2.4, 0.6))),
                )
                .curve(
                    Curve::new("Codebook perplexity")
                        .series(Series::new("perplexity", noisy(3000, 8.0, 291.0))),
                ),
        )
}

fn with_retrieval(mut report: Report) -> Report {
    let scores = |image_to_text: [f64; 3], text_to_image: [f64; 3], scale: f64, count: usize| {
        // Counted, as a measured recall is.
        let counted = |percent: f64| {
            let hits = (percent * scale / 100.0 * count as f64).round();
            Share::new(hits as usize, count).percent()
        };
        let recall = |recalls: [f64; 3]| {
            let [r1, r5, r10] = recalls.map(counted);
            Recall { r1, r5, r10 }
        };
        RetrievalScores::new(recall(image_to_text), recall(text_to_image))
    };
    for (split, source) in [("validation", "emojione"), ("test", "openmoji")] {
        for (concepts, count, scale) in [("seen", 1370, 1.0), ("unseen", 274, 0.62)] {
            let ids: Vec<usize> = (0..count).collect();
            report = report.retrieval(RetrievalResult {
                set: SetName::new(split, source, concepts),
                images: count,
                texts: count,
                embeddings: scores([27.3, 53.9, 65.2], [24.0, 49.1, 60.8], scale, count),
                codes: Some(scores([24.1, 51.0, 62.9], [22.4, 47.6, 59.7], scale, count)),
                pixels: Some(scores([1.1, 3.9, 6.0], [0.9, 3.1, 5.2], scale, count)),
                chance: GroundTruth::new(&ids, &ids).unwrap().chance(),
            });
        }
    }
    report
}

fn with_pictures(mut report: Report) -> Report {
    let caption = |i: u32| CAPTIONS[i as usize % CAPTIONS.len()].to_string();
    let picture = |i| Png::new(&drawing(i)).unwrap();
    for i in 0..12 {
        let found = |rank| CaptionMatch {
            caption: caption(i + rank),
            score: 0.71 - 0.06 * rank as f32,
            hit: rank == 0 && i % 4 != 1,
        };
        report = report.nearest(NearestCaptions {
            picture: picture(i),
            caption: caption(i),
            source: if i % 3 == 0 {
                "openmoji, unseen"
            } else {
                "openmoji, seen"
            }
            .into(),
            matches: (0..5).map(found).collect(),
        });
    }
    for (code, pictures) in [(17, 9), (203, 6), (511, 4), (88, 3)] {
        let example = |i| CodeExample {
            picture: picture(i + code),
            caption: caption(i + code),
            position: (i as usize * 7) % 32,
        };
        let examples = (0..pictures).map(example).collect();
        report = report.code(CodeGallery {
            code,
            pictures: pictures as usize,
            examples,
        });
    }
    report
}

#[test]
fn terminal_table() {
    let table = sample().terminal_table();
    assert!(table.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(table);
}

#[test]
fn survives_the_disk() {
    // Kept in the target folder, so that the page can be looked at.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-report");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let report = sample();
    report.save(&folder).unwrap();
    // Not `assert_eq!`: a report is too long to print.
    assert!(Report::load(folder.join("report.json")).unwrap() == report);
    assert_eq!(
        fs::read_to_string(folder.join("report.html")).unwrap(),
        report.html()
    );
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

    let mut nan = Report::new("").headline(Headline::new("loss", f64::NAN));
    nan.headlines[0].asked = Some(Asked::AtMost(1.0.into()));
    nan.save_json(folder.join("nan.json")).unwrap();
    let back = Report::load(folder.join("nan.json")).unwrap();
    assert!(back.headlines[0].value.value().is_nan());
    assert_eq!(back.headlines[0].verdict(), Some(Verdict::NotReached));
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

    let broken = folder.path().join("broken.json");
    fs::write(&broken, "{").unwrap();
    assert!(matches!(Report::load(&broken), Err(EvalError::Json { path, .. }) if path == broken));
}

#[test]
fn escapes_what_it_did_not_write() {
    let evil = "<script>alert(1)</script>\" onerror=\"alert(2)";
    let mut report = sample();
    report.title = evil.into();
    report.summary = Some(evil.into());
    report.config = Some(evil.into());
    report.command = Some(evil.into());
    report = report.fact(evil, evil).warning(evil);
    report.headlines[0].label = evil.into();
    report.headlines[0].set = evil.into();
    report.retrieval[0].set.source = evil.into();
    report.stages[0].name = evil.into();
    report.stages[0].curves[0].title = evil.into();
    report.stages[0].curves[0].series[0].name = evil.into();
    report.nearest[0].caption = evil.into();
    report.nearest[0].matches[0].caption = evil.into();
    report.codes[0].examples[0].caption = evil.into();
    let html = report.html();
    assert!(!html.contains("<script"));
    assert!(!html.contains("\" onerror"));
    assert!(html.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn loads_nothing_from_elsewhere() {
    made_up::loads_nothing_from_elsewhere(&sample(), &sample().html());
}

#[test]
fn leaves_out_what_is_missing() {
    let html = Report::new("only a title").html();
    for part in ["<section", "<table", "<svg", "<aside", "<dl", "<img"] {
        assert!(!html.contains(part), "{part}");
    }
    assert_eq!(Report::new("only a title").terminal_table(), "");
    let mut stage_one = sample();
    stage_one.codebook = None;
    stage_one.codes.clear();
    stage_one.headlines.clear();
    stage_one
        .retrieval
        .iter_mut()
        .for_each(|result| result.codes = None);
    let html = stage_one.html();
    assert!(html.contains("Retrieval") && !html.contains("Codebook<"));
    assert!(!stage_one.terminal_table().contains("codebook"));
}

#[test]
fn warns_of_what_the_figures_show() {
    let mut report = sample().warning("Trained on half the data.");
    let warnings = report.all_warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(
        warnings[1],
        "Not reached: R@1 image→text (test openmoji, unseen): 46 of 274, asked at least 60 of 274."
    );
    report.retrieval[3].embeddings = report.retrieval[3].chance;
    report.codebook = Some(CodebookHealth::measure(&[3; 64], 32, 512).unwrap());
    let warnings = report.all_warnings().join("\n");
    assert!(
        warnings.contains("On test · openmoji · unseen the embeddings"),
        "{warnings}"
    );
    assert!(
        warnings.contains("1 of 512 codes are in use (0.2 %), perplexity 1"),
        "{warnings}"
    );
}

#[test]
fn judges_by_counts() {
    let report = sample();
    let judged = |at: usize| report.headlines[at].judgement().unwrap();
    // 374 of 1,370 is 27.3 %.
    assert_eq!(
        judged(0),
        "374 of 1,370, asked at least 345 of 1,370: reached"
    );
    assert_eq!(judged(2), "2.1 points, asked at most 3.3 points: reached");
    assert_eq!(report.headlines[3].judgement(), None, "nothing was asked");
    // The target of no headline has made its own.
    let made = &report.headlines[4];
    assert_eq!(
        (&*made.label, &*made.set, made.verdict()),
        ("codes_r_mean", SEEN, Some(Verdict::Reached))
    );
    let html = report.html();
    for part in [
        "✓ 374 of 1,370, asked at least 345 of 1,370: reached",
        "✗ 46 of 274, asked at least 60 of 274: not reached",
        "27.3<span class=\"unit\"><span class=\"error\"> ± 1.2</span> %</span>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // All codes are counted: there is nothing to err about.
    assert!(
        html.contains("72.1<span class=\"unit\"> %</span></p><p class=\"quiet\">369 of 512</p>")
    );
    assert!(!html.contains("hoped"));
}

#[test]
fn no_target_is_dropped() {
    let toml = r#"
        [[targets]]
        score = "image_to_text_r1"
        set = "test · openmoji · seen"
        at_least = { hits = 345, of = 1327 }
        [[targets]]
        score = "image_to_text_r1"
        set = "test openmoji, flags"
        at_least = { hits = 1, of = 258 }
        [[targets]]
        score = "exact_captions"
        set = "test openmoji, seen"
        at_least = { hits = 1, of = 1327 }
    "#;
    let report = with_retrieval(Report::new("")).judge(&asked(toml).unwrap());
    // 1,370 pictures were judged: more hits than asked say nothing about a target of 1,327.
    assert_eq!(
        report.headlines[0].judgement().unwrap(),
        "asked of 1,327, 1,370 were judged: not compared"
    );
    assert_eq!(
        report.all_warnings(),
        [
            "Nothing was measured for image_to_text_r1 on \"test openmoji, flags\", where at least 1 of 258 was asked.",
            "Nothing was measured for exact_captions on \"test openmoji, seen\", where at least 1 of 1,327 was asked.",
            "Not compared: image_to_text_r1 (test · openmoji · seen): asked of 1,327, 1,370 were judged.",
        ]
    );
}

#[test]
fn every_score_is_found_by_its_name() {
    let report = sample();
    let result = &report.retrieval[2];
    let codes = result.codes.unwrap();
    let mut expected = vec![
        ("r_mean".to_owned(), SEEN, result.embeddings.r_mean),
        ("codes_r_mean".to_owned(), SEEN, codes.r_mean),
        (
            "lost_by_codes".to_owned(),
            SEEN,
            result.loss_of_codes().unwrap(),
        ),
        ("codebook_in_use".to_owned(), "", 100.0 * 369.0 / 512.0),
        (
            "codebook_perplexity".to_owned(),
            "",
            report.codebook.as_ref().unwrap().perplexity,
        ),
    ];
    for (by, scores) in [("", result.embeddings), ("codes_", codes)] {
        for (direction, recall) in [
            ("image_to_text", scores.image_to_text),
            ("text_to_image", scores.text_to_image),
        ] {
            for (k, percent) in [(1, recall.r1), (5, recall.r5), (10, recall.r10)] {
                expected.push((format!("{by}{direction}_r{k}"), SEEN, percent));
            }
        }
    }
    for (name, set, value) in expected {
        let score: Score = serde_json::from_value(name.clone().into()).unwrap();
        assert_eq!(score.to_string(), name);
        let figure = report.figure(score, set).unwrap();
        assert!((figure.value() - value).abs() < 1e-9, "{name}: {figure:?}");
        assert_eq!(
            matches!(figure, Figure::Share(_)),
            score.is_share(),
            "{name}"
        );
    }
    assert_eq!(report.figure(Score::RMean, "test openmoji"), None);
}

#[derive(Debug, Serialize, Deserialize)]
struct Config {
    targets: Vec<Target>,
}

fn asked(toml: &str) -> Result<Vec<Target>, toml::de::Error> {
    toml::from_str(toml).map(|config: Config| config.targets)
}

#[test]
fn targets_survive_a_config() {
    let targets = targets();
    let text = toml::to_string(&Config {
        targets: targets.clone(),
    })
    .unwrap();
    assert!(text.contains("score = \"image_to_text_r1\""), "{text}");
    assert_eq!(asked(&text).unwrap(), targets);
    let whole = "targets = [{ score = \"cider\", set = \"s\", at_least = 3 }]";
    assert_eq!(asked(whole).unwrap()[0].judge(3.0), Verdict::Reached);
}

#[test]
fn refuses_what_cannot_be_compared() {
    for (target, part) in [
        (
            r#"score = "image_to_text", set = "s", at_least = 1"#,
            "expected one of `image_to_text_r1`, `image_to_text_r5`",
        ),
        (
            r#"score = "image_to_text_r1", set = "s", at_least = 26.0"#,
            "target image_to_text_r1: it is a share",
        ),
        (
            r#"score = "cider", set = "s", at_least = { hits = 1, of = 2 }"#,
            "target cider: it is no share, so ask for a number, not for 1 of 2",
        ),
        (
            r#"score = "recall_r1", set = "s", at_least = { hits = 3, of = 2 }"#,
            "3 hits of 2",
        ),
        (
            r#"score = "recall_r1", set = "s", at_least = { hits = 0, of = 0 }"#,
            "cannot be reached",
        ),
        (
            r#"score = "cider", set = "s", at_most = nan"#,
            "cannot be reached",
        ),
        (
            r#"score = "cider", set = "s", at_most = "low""#,
            "expected a number, or a share",
        ),
        (
            r#"score = "cider", set = "s""#,
            "give either `at_least` or `at_most`",
        ),
        (
            r#"score = "cider", set = "s", at_most = 1, at_least = 1"#,
            "give either `at_least` or `at_most`",
        ),
        (
            r#"score = "cider", at_most = 1"#,
            "name the set that it is measured on",
        ),
        (
            r#"score = "codebook_perplexity", set = "s", at_most = 1"#,
            "take `set = \"s\"` out",
        ),
        (
            r#"score = "cider", set = "s", at_most = 1, hoped = 2"#,
            "unknown field `hoped`",
        ),
    ] {
        let error = asked(&format!("targets = [{{ {target} }}]")).unwrap_err();
        assert!(error.to_string().contains(part), "{target}: {error}");
    }
}

#[test]
fn calls_embeddings_causal_only_where_they_are() {
    let report = sample();
    assert!(report.html().contains(">embeddings</th>"));
    assert!(!report.html().contains(">causal embeddings</th>"));
    assert!(!report.terminal_table().contains("causal"));
    let causal = report.causal(true);
    assert!(causal.html().contains(">causal embeddings</th>"));
    assert!(causal.terminal_table().contains("  causal embeddings "));
}

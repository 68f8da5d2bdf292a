//! The report: what the page holds, what it must not, and what survives the disk.

mod made_up;

use std::{f64::consts::PI, fs, path::Path};

use made_up::{CAPTIONS, drawing, noisy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seed_eval::{
    CodebookHealth, EvalError, GroundTruth, Recall, Report, RetrievalScores, SetName,
    report::{
        CaptionMatch, CodeExample, CodeGallery, Curve, Headline, NearestCaptions, Png,
        RetrievalResult, Series, Stage,
    },
};

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
        .config("preset = \"nano\"\n\n[stage1]\nsteps = 4000\n\n[stage2]\nsteps = 3000\n")
        .headline(
            Headline::new("R@1 image→text, seen", 27.3)
                .unit("%")
                .at_least(26.0)
                .note("test vendor, causal embeddings"),
        )
        .headline(
            Headline::new("R@1 image→text, unseen", 7.4)
                .unit("%")
                .at_least(8.0)
                .note("test vendor, causal embeddings"),
        )
        .headline(
            Headline::new("lost by the codes", 2.1)
                .unit("points")
                .at_most(3.3)
                .note("R@mean, test vendor, seen"),
        )
        .headline(
            Headline::new("codebook in use", 72.1)
                .unit("%")
                .at_least(50.0),
        );
    let report = with_curves(report, &mut rng);
    let report = with_retrieval(report);
    let code = |_| (512.0 * 0.72 * rng.random::<f64>().powi(2)) as u32;
    let codes: Vec<u32> = (0..1370 * 32).map(code).collect();
    with_pictures(report.codebook(CodebookHealth::measure(&codes, 32, 512).unwrap()))
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
    let scores = |image_to_text: [f64; 3], text_to_image: [f64; 3], scale: f64| {
        let recall = |[r1, r5, r10]: [f64; 3]| Recall {
            r1: r1 * scale,
            r5: r5 * scale,
            r10: r10 * scale,
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
                embeddings: scores([27.3, 53.9, 65.2], [24.0, 49.1, 60.8], scale),
                codes: Some(scores([24.1, 51.0, 62.9], [22.4, 47.6, 59.7], scale)),
                pixels: Some(scores([1.1, 3.9, 6.0], [0.9, 3.1, 5.2], scale)),
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

    let nan = Report::new("").headline(Headline::new("loss", f64::NAN).at_most(1.0));
    nan.save_json(folder.join("nan.json")).unwrap();
    let back = Report::load(folder.join("nan.json")).unwrap();
    assert!(back.headlines[0].value.is_nan());
    assert_eq!(back.headlines[0].reached(), Some(false));
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
    assert!(warnings[1].contains("R@1 image→text, unseen is 7.4 %, hoped for ≥ 8.0 %"));
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

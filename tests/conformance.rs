//! Every model against golden numbers of the reference implementations, at tiny sizes: the kit of
//! `tests/fixtures`, run by `seed-parity`. The device is `SEED_TEST_DEVICE`.

use std::path::Path;

use seed::{
    device::test_device,
    parity::{CaseResult, Kit, KitResult, Measure, run, run_against},
};

/// Each case, and how many comparisons it makes at least: none may silently become smaller.
const CASES: &[(&str, usize)] = &[
    ("01_eva_vit", 12),
    ("02_causal_qformer", 49),
    ("03_quantizer", 21),
    ("04_seed_v1_stage2", 523),
    ("05_seed_v2_head", 28),
    ("06_end_to_end_v1", 16),
    ("07_preprocessing", 75),
    ("08_opt", 54),
    ("09_lora", 208),
    ("10_clip", 20),
    ("11_stable_diffusion", 79),
    ("12_metrics", 32),
    ("13_tokenizers", 13),
];

/// Cases that no device computes.
const ON_THE_HOST: &[&str] = &["07_preprocessing", "12_metrics", "13_tokenizers"];

fn kit() -> Kit {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    Kit::open(folder).unwrap()
}

fn case<'a>(result: &'a KitResult, name: &str) -> &'a CaseResult {
    let case = result.cases.iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("no case {name}"))
}

#[test]
fn every_model_gives_the_reference_s_numbers() {
    let result = run(&kit(), &test_device(), |_| {});
    // A line for `.ci/devices`.
    let on_device = |case: &&CaseResult| !ON_THE_HOST.contains(&case.name.as_str());
    let cases: Vec<&CaseResult> = result.cases.iter().filter(on_device).collect();
    let all: usize = cases.iter().map(|case| case.comparisons().len()).sum();
    let worst = cases
        .iter()
        .filter_map(|case| Some((case.worst()?, &case.name)));
    if let Some((worst, case)) = worst.max_by(|a, b| a.0.ratio().total_cmp(&b.0.ratio())) {
        let ratio = worst.ratio();
        println!(
            "worst of {all} comparisons: {case}, {}, {ratio:.2} of its tolerance",
            worst.name
        );
    }
    assert!(result.passed(), "{}", result.table());
    assert_eq!(result.counts().skipped, 0, "{}", result.table());
    assert_eq!(result.cases.len(), CASES.len());
    for (name, least) in CASES {
        let count = case(&result, name).comparisons().len();
        assert!(count >= *least, "{name}: {count} comparisons");
    }
    resampling_is_exact(case(&result, "07_preprocessing"));
}

/// The kit allows a level here and there; ours is Pillow's arithmetic, to the last bit.
fn resampling_is_exact(case: &CaseResult) {
    let resampled = case
        .comparisons()
        .iter()
        .filter(|c| c.measure == Measure::MostEntries);
    let worst: Vec<f64> = resampled.map(|comparison| comparison.max_error).collect();
    assert!(worst.len() >= 26, "{}", worst.len());
    assert!(worst.iter().all(|worst| *worst == 0.0), "{worst:?}");
}

#[test]
fn a_device_agrees_with_itself() {
    let kit = kit().select(&["eva_vit", "03", "10_clip"]).unwrap();
    let device = test_device();
    let result = run_against(&kit, &device, &device, |_| {});
    assert!(result.passed(), "{}", result.table());
    assert_eq!(result.cases.len(), 3);
}

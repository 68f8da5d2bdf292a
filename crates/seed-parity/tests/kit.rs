//! A kit with something wrong in it is told from a sound one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seed_device::test_device;
use seed_parity::{CaseResult, Kit, KitResult, Outcome, ParityError, run, run_against};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A kit of copies of some cases.
struct Copied(TempDir);

impl Copied {
    fn of(cases: &[&str]) -> Self {
        let kit = Self(tempfile::tempdir().unwrap());
        for case in cases {
            copy(&fixtures().join(case), &kit.folder(case));
        }
        kit
    }

    fn folder(&self, case: &str) -> PathBuf {
        self.0.path().join(case)
    }

    /// Changes bytes of a tensor in a file of a case.
    fn tamper(&self, file: &str, key: &str, change: impl Fn(&mut [u8])) {
        let path = self.0.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let place = {
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let data = file.tensor(key).unwrap().data();
            let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + data.len()
        };
        change(&mut bytes[place]);
        fs::write(&path, bytes).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.0.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self) -> KitResult {
        run(&Kit::open(self.0.path()).unwrap(), &test_device(), |_| {})
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

fn add_one(bytes: &mut [u8]) {
    let value = f32::from_le_bytes(bytes[..4].try_into().unwrap());
    bytes[..4].copy_from_slice(&(value + 1.0).to_le_bytes());
}

/// Names of the comparisons that did not pass.
fn beyond(case: &CaseResult) -> Vec<&str> {
    let comparisons = case.comparisons().iter();
    comparisons
        .filter(|c| !c.passed())
        .map(|c| c.name.as_str())
        .collect()
}

fn failure(case: &CaseResult) -> &str {
    match &case.outcome {
        Outcome::Failed { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_golden_tensor_that_is_off_fails_alone() {
    let kit = Copied::of(&["01_eva_vit", "03_quantizer"]);
    kit.tamper("01_eva_vit/outputs.safetensors", "block_1", add_one);
    kit.tamper("03_quantizer/legacy.safetensors", "ids", |bytes| {
        bytes[0] ^= 1;
    });
    let result = kit.run();
    assert!(!result.passed());
    assert_eq!(beyond(&result.cases[0]), ["outputs/block_1"]);
    assert_eq!(beyond(&result.cases[1]), ["legacy/ids"]);
    let worst = result.cases[0].worst().unwrap();
    assert!((worst.max_error - 1.0).abs() < 1e-4);
    assert_eq!(worst.worst, Some(vec![0, 0, 0]));
    for table in [result.table(), result.verbose_table()] {
        let table = table.to_string();
        assert!(
            table.contains("outputs/block_1, worst at [0, 0, 0]"),
            "{table}"
        );
        assert!(table.contains("0 passed, 2 failed, 0 skipped"), "{table}");
    }
}

#[test]
fn a_golden_scalar_that_is_off_fails() {
    let kit = Copied::of(&["02_causal_qformer"]);
    kit.edit(
        "02_causal_qformer/expected.json",
        "\"itc_loss\": 4.49",
        "\"itc_loss\": 4.48",
    );
    let result = kit.run();
    assert_eq!(beyond(&result.cases[0]), ["expected/itc_loss"]);
}

#[test]
fn a_parameter_that_moved_elsewhere_fails() {
    let kit = Copied::of(&["04_seed_v1_stage2"]);
    let key = "distill_text_proj.weight";
    kit.tamper(
        "04_seed_v1_stage2/params_after_3_steps.safetensors",
        key,
        add_one,
    );
    let result = kit.run();
    assert_eq!(
        beyond(&result.cases[0]),
        [format!("params_after_3_steps/{key}")]
    );
}

#[test]
fn broken_cases_fail_with_the_reason_and_the_run_goes_on() {
    let broken = [
        "01_eva_vit",
        "02_causal_qformer",
        "03_quantizer",
        "04_seed_v1_stage2",
    ];
    let kit = Copied::of(&[&broken[..], &["12_metrics"]].concat());
    fs::remove_file(kit.folder("01_eva_vit").join("weights.safetensors")).unwrap();
    kit.edit(
        "02_causal_qformer/config.json",
        "\"hidden_size\": 24",
        "\"hidden_size\": 25",
    );
    fs::write(kit.folder("03_quantizer").join("config.json"), "{").unwrap();
    let path = kit.folder("04_seed_v1_stage2").join("weights.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();

    let mut heard = Vec::new();
    let result = run(&Kit::open(kit.0.path()).unwrap(), &test_device(), |case| {
        heard.push(case.name.clone());
    });
    assert_eq!(heard.len(), 5, "progress hears of each case");
    let reasons: Vec<&str> = result.cases[..4].iter().map(failure).collect();
    assert!(reasons[0].contains("no file `weights`"), "{}", reasons[0]);
    assert!(
        reasons[1].contains("width 25 is not divisible by 3 heads"),
        "{}",
        reasons[1]
    );
    assert!(
        reasons[2].contains("config.json: not sound JSON"),
        "{}",
        reasons[2]
    );
    assert!(reasons[3].contains("weights.safetensors"), "{}", reasons[3]);
    assert!(
        reasons.iter().all(|reason| !reason.contains('\n')),
        "{reasons:?}"
    );
    assert!(result.cases[4].passed(), "{}", result.table());
    let counts = result.counts();
    assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 4, 0));
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let kit = Copied::of(&["01_eva_vit", "02_causal_qformer"]);
    kit.edit(
        "01_eva_vit/config.json",
        "\"image_size\": 42",
        "\"image_size\": 56",
    );
    // Below the vocabulary's size in the file, beyond it after the change.
    kit.tamper(
        "02_causal_qformer/inputs.safetensors",
        "text_ids",
        |bytes| bytes[0] = 250,
    );
    let result = kit.run();
    let [tower, q_former] = [0, 1].map(|case| failure(&result.cases[case]));
    assert!(
        tower.contains("shape") && tower.contains("pos_embed"),
        "{tower}"
    );
    assert!(q_former.contains("holds the index 250"), "{q_former}");
}

#[test]
fn texts_longer_than_the_table_of_positions_are_refused() {
    let kit = Copied::of(&["10_clip", "12_metrics"]);
    // No shape of a weight shows it, and a card would read something beyond the table.
    let path = kit.folder("10_clip").join("inputs.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let longer = vec![0; 3 * 500 * size_of::<i64>()];
    let tensors = file.tensors().into_iter().map(|(key, tensor)| {
        let ids = key == "b_ids";
        let longer = || TensorView::new(Dtype::I64, vec![3, 500], &longer).unwrap();
        (key, if ids { longer() } else { tensor })
    });
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let result = kit.run();
    let reason = failure(&result.cases[0]);
    assert!(
        reason.contains("`b_ids` has shape [3, 500], the config asks for [_, at most"),
        "{reason}"
    );
    assert!(result.cases[1].passed());
}

#[test]
fn nothing_to_compare_is_a_failure() {
    let kit = Copied::of(&["01_eva_vit"]);
    fs::remove_file(kit.folder("01_eva_vit").join("outputs.safetensors")).unwrap();
    let result = kit.run();
    assert!(failure(&result.cases[0]).contains("nothing was compared"));
    assert!(!result.passed());
}

#[test]
fn what_a_case_does_not_hold_is_not_compared() {
    let kit = Copied::of(&["02_causal_qformer", "04_seed_v1_stage2"]);
    for file in [
        "bilateral.safetensors",
        "bilateral_grads.safetensors",
        "expected.json",
    ] {
        fs::remove_file(kit.folder("02_causal_qformer").join(file)).unwrap();
    }
    let [all, fewer] =
        [Copied::of(&["02_causal_qformer"]).run(), kit.run()].map(|result| result.cases[0].clone());
    assert!(fewer.passed());
    assert!(fewer.comparisons().len() < all.comparisons().len());
    assert!(
        fewer
            .comparisons()
            .iter()
            .all(|c| !c.name.starts_with("bilateral"))
    );
}

#[test]
fn golden_tensors_without_a_counterpart_are_listed() {
    let kit = Copied::of(&["03_quantizer"]);
    let folder = kit.folder("03_quantizer");
    fs::copy(
        folder.join("legacy.safetensors"),
        folder.join("other.safetensors"),
    )
    .unwrap();
    let result = kit.run();
    let Outcome::Compared { left_out, .. } = &result.cases[0].outcome else {
        panic!("{:?}", result.cases[0]);
    };
    assert!(
        left_out.iter().any(|left| left.name == "other/zq"),
        "{left_out:?}"
    );
    assert!(result.cases[0].passed(), "what is left out does not fail");
}

#[test]
fn unknown_folders_are_skipped() {
    let kit = Copied::of(&["03_quantizer"]);
    for folder in ["77_of_another_kind", ".hidden"] {
        fs::create_dir(kit.folder(folder)).unwrap();
    }
    let result = kit.run();
    let names: Vec<&str> = result.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["03_quantizer", "77_of_another_kind"]);
    let reason = |case: &CaseResult| match &case.outcome {
        Outcome::Skipped { reason } => reason.clone(),
        other => panic!("{other:?}"),
    };
    let unknown = &result.cases[1];
    assert!(reason(unknown).contains("no such model"));
    assert!(unknown.skipped() && !unknown.passed());
    assert!(result.passed(), "skipped cases do not fail a kit");

    let unknown = Copied::of(&[]);
    fs::create_dir(unknown.folder("77_of_another_kind")).unwrap();
    assert!(
        !unknown.run().passed(),
        "a kit of which nothing ran has not passed"
    );
}

#[test]
fn the_tolerance_of_a_tensor_without_one_follows_its_size() {
    let kit = Copied::of(&["01_eva_vit"]);
    fs::remove_file(kit.folder("01_eva_vit").join("stats.json")).unwrap();
    let result = kit.run();
    assert!(result.passed(), "{}", result.table());
    kit.tamper("01_eva_vit/outputs.safetensors", "final", |bytes| {
        let value = f32::from_le_bytes(bytes[..4].try_into().unwrap());
        bytes[..4].copy_from_slice(&(value + 0.01).to_le_bytes());
    });
    assert_eq!(beyond(&kit.run().cases[0]), ["outputs/final"]);
}

#[test]
fn two_runs_are_held_against_each_other_without_golden_values() {
    let kit = Copied::of(&["03_quantizer"]);
    // A golden value that is off plays no part between two devices.
    kit.tamper("03_quantizer/legacy.safetensors", "zq", add_one);
    let device = test_device();
    let opened = Kit::open(kit.0.path()).unwrap();
    assert!(!run(&opened, &device, |_| {}).passed());
    let against = run_against(&opened, &device, &device, |_| {});
    assert!(against.passed(), "{}", against.table());
    assert!(against.cases[0].comparisons().len() >= 20);
}

#[test]
fn a_result_is_written_as_json() {
    let kit = Copied::of(&["03_quantizer", "12_metrics"]);
    fs::create_dir(kit.folder("77_of_another_kind")).unwrap();
    let result = kit.run();
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(json["cases"][0]["name"], "03_quantizer");
    assert_eq!(json["cases"][0]["outcome"], "compared");
    assert_eq!(json["cases"][0]["comparisons"][0]["measure"], "differing");
    assert_eq!(json["cases"][2]["outcome"], "skipped");
    let tolerance = json["cases"][0]["comparisons"][1]["tolerance"].as_f64();
    assert_eq!(tolerance, Some(result.cases[0].comparisons()[1].tolerance));
}

#[test]
fn folders_that_are_no_kit_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = Kit::open(empty.path()).unwrap_err();
    assert!(matches!(error, ParityError::NoCases { .. }), "{error}");
    let missing = Kit::open(empty.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");

    let one = Kit::open(fixtures().join("03_quantizer")).unwrap();
    assert_eq!(one.cases().len(), 1, "a case alone is a kit of one");
    let kit = Kit::open(fixtures()).unwrap();
    let chosen = kit
        .select(&["10", "eva_vit", "03_quantizer", "03"])
        .unwrap();
    let names: Vec<&str> = chosen
        .cases()
        .iter()
        .map(seed_parity::KitCase::name)
        .collect();
    assert_eq!(names, ["01_eva_vit", "03_quantizer", "10_clip"]);
    let error = kit.select(&["eva"]).unwrap_err().to_string();
    assert!(
        error.contains("`eva`") && error.contains("01_eva_vit"),
        "{error}"
    );
}

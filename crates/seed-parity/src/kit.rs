//! A folder of cases, and running all of them.

use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use burn::tensor::Device;

use crate::{
    case::Case,
    cases::{self, Model},
    comparison::Comparison,
    error::ParityError,
    outputs::{Output, Outputs, Recorder},
    result::{CaseResult, KitResult, Outcome},
};

/// A folder of cases.
#[derive(Debug, Clone)]
pub struct Kit {
    cases: Vec<KitCase>,
}

/// One case of a [`Kit`].
#[derive(Debug, Clone)]
pub struct KitCase {
    name: String,
    folder: PathBuf,
}

impl KitCase {
    /// Name of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Kit {
    /// Lists the cases of a kit: its sub-folders. The folder of a single case is a kit of one.
    ///
    /// # Errors
    ///
    /// [`ParityError::Io`], or [`ParityError::NoCases`] if there is no folder inside.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ParityError> {
        // Resolved, so that `.` has a name too.
        let path = path.as_ref();
        let root = path.canonicalize().map_err(ParityError::io(path))?;
        let mut folders = Vec::new();
        if root.join("config.json").is_file() || root.join("stats.json").is_file() {
            folders.push(root);
        } else {
            for entry in fs::read_dir(&root).map_err(ParityError::io(path))? {
                let folder = entry.map_err(ParityError::io(path))?.path();
                if folder.is_dir() {
                    folders.push(folder);
                }
            }
        }
        let mut cases: Vec<KitCase> = folders
            .into_iter()
            .filter_map(|folder| {
                let name = folder.file_name()?.to_string_lossy().into_owned();
                (!name.starts_with('.')).then_some(KitCase { name, folder })
            })
            .collect();
        if cases.is_empty() {
            let path = path.to_owned();
            return Err(ParityError::NoCases { path });
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { cases })
    }

    /// Its cases, by name.
    pub fn cases(&self) -> &[KitCase] {
        &self.cases
    }

    /// Keeps the named cases alone, with or without their numbers (`01_eva_vit`, `eva_vit`, `01`).
    ///
    /// # Errors
    ///
    /// [`ParityError::NoSuchCase`].
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Self, ParityError> {
        let mut chosen = BTreeMap::new();
        for wanted in names {
            let wanted = wanted.as_ref();
            let mut matching = self.cases.iter().filter(|case| {
                let (number, subject) = split_number(&case.name);
                wanted == case.name || wanted == subject || wanted == number
            });
            let Some(first) = matching.next() else {
                return Err(ParityError::NoSuchCase {
                    name: wanted.to_owned(),
                    available: self.cases.iter().map(|case| case.name.clone()).collect(),
                });
            };
            for case in std::iter::once(first).chain(matching) {
                chosen.insert(case.name.clone(), case.clone());
            }
        }
        let cases = chosen.into_values().collect();
        Ok(Self { cases })
    }
}

/// `01_eva_vit` → `01`, `eva_vit`.
fn split_number(name: &str) -> (&str, &str) {
    let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = name.split_at(digits);
    (number, rest.trim_start_matches(['_', '-', ' ', '.']))
}

/// Runs every case on `device` (without autodiff; cases that need gradients turn it on) and compares
/// with the kit's golden values. `progress` hears of each case as it ends.
///
/// A case whose files are broken has failed, with the reason, and the run goes on.
pub fn run(kit: &Kit, device: &Device, progress: impl FnMut(&CaseResult)) -> KitResult {
    each_case(kit, progress, |case, model| {
        let outputs = evaluate(case, model, device)?;
        let comparisons = outputs
            .computed
            .iter()
            .flat_map(|output| {
                output
                    .rule
                    .compare(&output.name, &output.found, &output.golden)
            })
            .collect();
        Ok((comparisons, outputs))
    })
}

/// Runs every case on two devices and compares what they give with each other, within the tolerances
/// that each has for the golden values.
pub fn run_against(
    kit: &Kit,
    device: &Device,
    against: &Device,
    progress: impl FnMut(&CaseResult),
) -> KitResult {
    each_case(kit, progress, |case, model| {
        let outputs = evaluate(case, model, device)?;
        let others = evaluate(case, model, against)?;
        let pairs = outputs.computed.iter().zip(&others.computed);
        let comparisons = pairs
            .flat_map(|(output, other): (&Output, &Output)| {
                output
                    .rule
                    .compare(&output.name, &output.found, &other.found)
            })
            .collect();
        Ok((comparisons, outputs))
    })
}

fn each_case(
    kit: &Kit,
    mut progress: impl FnMut(&CaseResult),
    mut run: impl FnMut(&KitCase, Model) -> Result<(Vec<Comparison>, Outputs), ParityError>,
) -> KitResult {
    let cases = kit.cases.iter().map(|case| {
        let outcome = match cases::find(split_number(&case.name).1) {
            Err(reason) => Outcome::Skipped { reason },
            // Burn's operations panic on shapes that do not fit, and one broken case must not end
            // the run of the others.
            Ok(model) => match catch_unwind(AssertUnwindSafe(|| run(case, model))) {
                Ok(Ok((comparisons, outputs))) => compared(comparisons, outputs),
                Ok(Err(error)) => Outcome::Failed {
                    reason: error.to_string(),
                },
                Err(panic) => Outcome::Failed {
                    reason: format!(
                        "the model does not take these tensors: {}",
                        panic_message(panic.as_ref())
                    ),
                },
            },
        };
        let result = CaseResult {
            name: case.name.clone(),
            outcome,
        };
        progress(&result);
        result
    });
    KitResult {
        cases: cases.collect(),
    }
}

fn evaluate(case: &KitCase, model: Model, device: &Device) -> Result<Outputs, ParityError> {
    let case = Case::open(&case.folder, device)?;
    let mut recorder = Recorder::new(&case);
    model(&case, &mut recorder)?;
    recorder.finish()
}

fn compared(comparisons: Vec<Comparison>, outputs: Outputs) -> Outcome {
    if comparisons.is_empty() {
        return Outcome::Failed {
            reason:
                "nothing was compared: the case holds none of the golden values that its model \
                     computes"
                    .to_owned(),
        };
    }
    Outcome::Compared {
        comparisons,
        left_out: outputs.left_out,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let message = text.unwrap_or("no message");
    // Burn's messages go on for many lines.
    message
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_panics_fails_its_case_alone() {
        let cases = ["10_clip", "12_metrics"].map(|name| KitCase {
            name: name.to_owned(),
            folder: PathBuf::new(),
        });
        let kit = Kit {
            cases: cases.into(),
        };
        let result = each_case(
            &kit,
            |_| {},
            |case, _| {
                assert!(case.name != "10_clip", "\nshapes do not fit\nand so on");
                Err(ParityError::NoSuchCase {
                    name: "it ran".to_owned(),
                    available: Vec::new(),
                })
            },
        );
        let reasons: Vec<&str> = result
            .cases
            .iter()
            .map(|case| match &case.outcome {
                Outcome::Failed { reason } => reason.as_str(),
                _ => "",
            })
            .collect();
        assert_eq!(
            reasons[0],
            "the model does not take these tensors: shapes do not fit"
        );
        assert!(reasons[1].contains("it ran"), "{}", reasons[1]);
    }

    #[test]
    fn numbers_in_front_of_names_are_dropped() {
        assert_eq!(split_number("01_eva_vit"), ("01", "eva_vit"));
        assert_eq!(split_number("eva_vit"), ("", "eva_vit"));
        assert_eq!(split_number("12-metrics"), ("12", "metrics"));
        assert_eq!(split_number("04_seed_v1_stage2"), ("04", "seed_v1_stage2"));
    }
}

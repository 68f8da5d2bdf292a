//! What a case computes, beside its golden values.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;

use crate::{
    case::Case,
    comparison::{Rule, Values, largest},
    error::ParityError,
    result::LeftOut,
};

/// Share of the largest golden magnitude that is allowed where `stats.json` has no tolerance: a few
/// times the rounding of a small model in f32.
const DEFAULT_TOLERANCE: f64 = 5e-5;

/// One result, with the golden value that it must be and how close.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) found: Values,
    pub(crate) golden: Values,
    pub(crate) rule: Rule,
}

/// All results of a case.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) computed: Vec<Output>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// Takes the results of a case under the names of its golden values. A result for which the case
/// holds no golden value is dropped.
pub(crate) struct Recorder<'a> {
    case: &'a Case<'a>,
    outputs: Outputs,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            outputs: Outputs::default(),
        }
    }

    /// A tensor, to the tolerance of `stats.json`.
    pub(crate) fn tensor<const D: usize>(
        &mut self,
        stem: &str,
        key: &str,
        found: Tensor<D>,
    ) -> Result<(), ParityError> {
        self.data(stem, key, &found.into_data())
    }

    /// A tensor that has left the device, to the tolerance of `stats.json`.
    pub(crate) fn data(
        &mut self,
        stem: &str,
        key: &str,
        found: &TensorData,
    ) -> Result<(), ParityError> {
        let Some(golden) = self.golden(stem, key)? else {
            return Ok(());
        };
        let name = format!("{stem}/{key}");
        let size = match &golden {
            Values::Numbers { entries, .. } => largest(entries),
            Values::Rows(_) => 0.0,
        };
        let tolerance = self.case.tolerance(&name);
        let rule = Rule::Within(tolerance.unwrap_or(DEFAULT_TOLERANCE * size));
        self.push(name, numbers(found), golden, rule);
        Ok(())
    }

    /// A tensor by another rule than the tolerance of `stats.json`.
    pub(crate) fn data_by(
        &mut self,
        rule: Rule,
        stem: &str,
        key: &str,
        found: &TensorData,
    ) -> Result<(), ParityError> {
        if let Some(golden) = self.golden(stem, key)? {
            self.push(format!("{stem}/{key}"), numbers(found), golden, rule);
        }
        Ok(())
    }

    /// Codes or ids: exact.
    pub(crate) fn ids<const D: usize>(
        &mut self,
        stem: &str,
        key: &str,
        found: Tensor<D, Int>,
    ) -> Result<(), ParityError> {
        let Some(file) = self.case.find(stem)? else {
            return Ok(());
        };
        if file.shape(key).is_some() {
            let golden = numbers(&file.int(key)?);
            let found = numbers(&found.into_data());
            self.push(format!("{stem}/{key}"), found, golden, Rule::Exact);
        }
        Ok(())
    }

    /// A scalar of `expected.json`, to a share of its size.
    pub(crate) fn scalar(&mut self, name: &str, golden: &Value, found: f64, relative: f64) {
        if let Some(golden) = golden.as_f64() {
            let (found, golden) = (Values::scalar(found), Values::scalar(golden));
            self.push(
                format!("expected/{name}"),
                found,
                golden,
                Rule::Relative(relative),
            );
        }
    }

    /// Gradients by checkpoint key: every one that the golden file holds.
    pub(crate) fn gradients(
        &mut self,
        stem: &str,
        found: &BTreeMap<String, TensorData>,
    ) -> Result<(), ParityError> {
        for key in self.case.golden_keys(stem)? {
            self.data(stem, &key, parameter(found, stem, &key)?)?;
        }
        Ok(())
    }

    /// Anything else.
    pub(crate) fn push(&mut self, name: String, found: Values, golden: Values, rule: Rule) {
        self.outputs.computed.push(Output {
            name,
            found,
            golden,
            rule,
        });
    }

    /// Says why golden values are not compared: one, or all of a file with `stem/*`.
    pub(crate) fn leave_out(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.outputs.left_out.push(LeftOut {
            name: name.into(),
            reason: reason.into(),
        });
    }

    /// The results, with every golden tensor that nothing was compared with.
    pub(crate) fn finish(mut self) -> Result<Outputs, ParityError> {
        let Outputs { computed, left_out } = &mut self.outputs;
        let compared: BTreeSet<&str> = computed.iter().map(|output| output.name.as_str()).collect();
        let explained: BTreeSet<String> = left_out.iter().map(|left| left.name.clone()).collect();
        for stem in self.case.golden_stems()? {
            if explained.contains(&format!("{stem}/*")) {
                continue;
            }
            for key in self.case.golden_keys(&stem)? {
                let name = format!("{stem}/{key}");
                if !compared.contains(name.as_str()) && !explained.contains(&name) {
                    let reason = "no result of this name".to_owned();
                    left_out.push(LeftOut { name, reason });
                }
            }
        }
        Ok(self.outputs)
    }

    fn golden(&self, stem: &str, key: &str) -> Result<Option<Values>, ParityError> {
        let Some(file) = self.case.find(stem)? else {
            return Ok(None);
        };
        if file.shape(key).is_none() {
            return Ok(None);
        }
        Ok(Some(numbers(&file.float(key)?)))
    }
}

/// A parameter's value or gradient, or the error that names what the model lacks.
pub(crate) fn parameter<'a>(
    found: &'a BTreeMap<String, TensorData>,
    stem: &str,
    key: &str,
) -> Result<&'a TensorData, ParityError> {
    found.get(key).ok_or_else(|| ParityError::NoSuchParameter {
        stem: stem.to_owned(),
        key: key.to_owned(),
    })
}

pub(crate) fn numbers(data: &TensorData) -> Values {
    Values::Numbers {
        shape: data.shape().to_vec(),
        entries: data.iter::<f64>().collect(),
    }
}

/// The value of a tensor of one element.
pub(crate) fn scalar(tensor: Tensor<1>) -> f64 {
    tensor.into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

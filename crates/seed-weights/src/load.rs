//! From a checkpoint into a module.

use std::collections::HashSet;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};

use crate::{Checkpoint, KeyMap, WeightsError, parameters, parameters::transpose};

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys that were read into the module.
    pub loaded: Vec<String>,
    /// Keys of the checkpoint that no parameter asked for.
    pub unused: Vec<String>,
}

/// Fills every parameter of `module` from `checkpoint`, as f32 on the module's own device.
///
/// All keys and shapes are checked first, so on an error no parameter has been touched and the
/// report names each missing key. Keys that the module does not have are listed, not refused:
/// published files carry leftovers.
///
/// # Errors
///
/// [`WeightsError::Missing`], [`WeightsError::Shape`], and what [`Checkpoint::float`] gives.
pub fn load<M: Module>(
    module: M,
    checkpoint: &Checkpoint,
    keys: &KeyMap,
) -> Result<(M, LoadReport), WeightsError> {
    let name = || checkpoint.name().to_owned();
    let mut values = Vec::new();
    let mut missing = Vec::new();
    let mut report = LoadReport::default();
    for parameter in parameters(&module) {
        let key = keys.key(&parameter.path);
        match checkpoint.shape(&key) {
            None => missing.push(key),
            Some(found) if !same_shape(found, &parameter.shape) => {
                return Err(WeightsError::Shape {
                    name: name(),
                    key,
                    found: found.to_vec(),
                    expected: parameter.shape,
                });
            }
            Some(_) => {
                let data = checkpoint.float(&key)?;
                values.push(if parameter.transposed {
                    transpose(&data)
                } else {
                    TensorData::from_bytes_vec(
                        data.as_bytes().to_vec(),
                        parameter.shape,
                        data.dtype(),
                    )
                });
                report.loaded.push(key);
            }
        }
    }
    if !missing.is_empty() {
        return Err(WeightsError::Missing {
            name: name(),
            keys: missing,
        });
    }
    let loaded: HashSet<&str> = report.loaded.iter().map(String::as_str).collect();
    report.unused = checkpoint
        .keys()
        .filter(|key| !loaded.contains(key))
        .map(str::to_owned)
        .collect();
    let module = module.map(&mut Filler {
        values: values.into_iter(),
    });
    Ok((module, report))
}

/// A checkpoint's scalar, of shape `[]`, is our `[1]`.
fn same_shape(found: &[usize], expected: &[usize]) -> bool {
    found == expected || (found.is_empty() && expected == [1])
}

/// Puts values into parameters in the order in which [`parameters`] lists them.
struct Filler {
    values: std::vec::IntoIter<TensorData>,
}

impl ModuleMapper for Filler {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.values.next() else {
            return param;
        };
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }
}

//! From a checkpoint into a module.

use std::{collections::HashSet, fmt};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Tensor, TensorData},
};

use seed_device::Precision;

use crate::{
    checkpoint::Checkpoint,
    elements::is_weight_type,
    error::{WeightsError, shortened},
    keys::KeyMap,
    layout::matrix,
    parameters::{ParameterInfo, parameters},
};

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys that were read into the module.
    pub loaded: Vec<String>,
    /// How many of them the module keeps transposed.
    pub transposed: usize,
    /// How many changed their precision, by both types.
    pub cast: Vec<Cast>,
    /// Keys of the checkpoint that no parameter asked for.
    pub unused: Vec<String>,
}

/// How many tensors were converted from one precision to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// Precision in the checkpoint.
    pub from: DType,
    /// Precision they have now.
    pub to: DType,
    /// How many.
    pub tensors: usize,
}

impl Cast {
    /// Counts one more tensor.
    pub(crate) fn count(casts: &mut Vec<Self>, from: DType, to: DType) {
        if from == to {
            return;
        }
        match casts
            .iter_mut()
            .find(|cast| (cast.from, cast.to) == (from, to))
        {
            Some(cast) => cast.tensors += 1,
            None => casts.push(Self {
                from,
                to,
                tensors: 1,
            }),
        }
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.from, self.to].map(|dtype| format!("{dtype:?}").to_lowercase());
        write!(formatter, "{} cast {from}→{to}", self.tensors)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loaded.len() {
            1 => formatter.write_str("1 tensor loaded")?,
            count => write!(formatter, "{count} tensors loaded")?,
        }
        if self.transposed > 0 {
            write!(formatter, ", {} transposed", self.transposed)?;
        }
        for cast in &self.cast {
            write!(formatter, ", {cast}")?;
        }
        match self.unused.len() {
            0 => formatter.write_str("; none unused"),
            count => write!(formatter, "\n{count} unused: {}", shortened(&self.unused)),
        }
    }
}

/// Fills every parameter of `module` from `checkpoint`, as f32 on the module's own device.
///
/// All keys, shapes and element types are checked first, from the files' headers, so that a wrong
/// checkpoint is refused before anything large is read, and each missing key is named. Then the
/// tensors are read and put in one at a time: memory peaks at the model and one tensor. Reading can
/// still fail (the file is damaged, a value is NaN), and the half-filled module is dropped then.
/// Keys that the module does not have are listed, not refused: published files carry leftovers.
/// A linear layer may be stored as the 1×1 convolution that it is at each place, `[out, in, 1, 1]`.
///
/// # Errors
///
/// [`WeightsError::Missing`], [`WeightsError::Shape`], and what [`Checkpoint::float`] gives.
pub fn load<M: Module>(
    module: M,
    checkpoint: &Checkpoint,
    keys: &KeyMap,
) -> Result<(M, LoadReport), WeightsError> {
    load_as(module, checkpoint, keys, DType::F32)
}

/// As [`load`], with the weights of linear layers kept as `dtype`: f32, f16 or bf16. Everything else stays
/// f32, as in the reference (`convert_weights_to_fp16`): it is a hundredth of a model's size.
///
/// # Errors
///
/// Those of [`load`], [`WeightsError::Precision`] for another type, and
/// [`WeightsError::OutOfRange`] for values that f16 cannot hold, [`WeightsError::Device`] if the module's device has no
/// such numbers.
pub fn load_as<M: Module>(
    module: M,
    checkpoint: &Checkpoint,
    keys: &KeyMap,
    dtype: DType,
) -> Result<(M, LoadReport), WeightsError> {
    if !is_weight_type(dtype) {
        return Err(WeightsError::Precision {
            name: checkpoint.name().to_owned(),
            dtype,
        });
    }
    if let Some(precision) = Precision::of(dtype) {
        for device in module.devices() {
            precision
                .require_on(&device)
                .map_err(|source| WeightsError::Device {
                    name: checkpoint.name().to_owned(),
                    source,
                })?;
        }
    }
    let plan = plan(&module, checkpoint, keys)?;
    let mut report = LoadReport::default();
    for step in &plan {
        report.loaded.push(step.key.clone());
        report.transposed += usize::from(step.transposed);
        Cast::count(&mut report.cast, step.stored, step.kept_as(dtype));
    }
    let loaded: HashSet<&str> = report.loaded.iter().map(String::as_str).collect();
    report.unused = checkpoint
        .keys()
        .filter(|key| !loaded.contains(key))
        .map(str::to_owned)
        .collect();

    let mut filler = Filler {
        checkpoint,
        dtype,
        plan: plan.into_iter(),
        error: None,
    };
    let module = module.map(&mut filler);
    match filler.error {
        Some(error) => Err(error),
        None => Ok((module, report)),
    }
}

/// What is read for one parameter.
struct Step {
    key: String,
    stored: DType,
    transposed: bool,
}

impl Step {
    /// The type of the parameter, if linear layers are kept as `dtype`.
    fn kept_as(&self, dtype: DType) -> DType {
        if self.transposed { dtype } else { DType::F32 }
    }
}

/// Finds a tensor for each parameter, in the order in which [`parameters`] lists them.
fn plan<M: Module>(
    module: &M,
    checkpoint: &Checkpoint,
    keys: &KeyMap,
) -> Result<Vec<Step>, WeightsError> {
    let name = || checkpoint.name().to_owned();
    let wanted: Vec<_> = parameters(module)
        .into_iter()
        .map(|parameter| (keys.key(&parameter.path), parameter))
        .collect();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(key, _)| checkpoint.shape(key).is_none())
        .map(|(key, _)| key.clone())
        .collect();
    if !missing.is_empty() {
        return Err(WeightsError::Missing {
            name: name(),
            keys: missing,
        });
    }
    wanted
        .into_iter()
        .map(|(key, parameter)| {
            let found = checkpoint.shape(&key).unwrap_or_default();
            if !same_shape(found, &parameter) {
                return Err(WeightsError::Shape {
                    name: name(),
                    found: found.to_vec(),
                    key,
                    expected: parameter.shape,
                });
            }
            Ok(Step {
                stored: checkpoint.check_weight(&key)?,
                key,
                transposed: parameter.transposed,
            })
        })
        .collect()
}

/// A checkpoint's scalar, of shape `[]`, is our `[1]`, and a 1×1 convolution, `[out, in, 1, 1]`, is the linear layer at each
/// place, `[out, in]`.
fn same_shape(found: &[usize], parameter: &ParameterInfo) -> bool {
    let expected = parameter.shape.as_slice();
    found == expected
        || (found.is_empty() && expected == [1])
        || (parameter.transposed && matrix(found) == expected)
}

/// Reads tensors into parameters in the order of the plan; after an error it reads no more.
struct Filler<'a> {
    checkpoint: &'a Checkpoint,
    dtype: DType,
    plan: std::vec::IntoIter<Step>,
    error: Option<WeightsError>,
}

impl Filler<'_> {
    fn next(&mut self, shape: &[usize]) -> Result<Option<TensorData>, WeightsError> {
        let Some(step) = self.plan.next() else {
            return Ok(None);
        };
        let data = self
            .checkpoint
            .weight(&step.key, step.kept_as(self.dtype), step.transposed)?;
        if step.transposed {
            return Ok(Some(data));
        }
        let (bytes, _, dtype) = data.into_parts();
        Ok(Some(TensorData::from_bytes(bytes, shape.to_vec(), dtype)))
    }
}

impl ModuleMapper for Filler<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.error.is_some() {
            return param;
        }
        match self.next(&param.lazy_shape()) {
            Ok(Some(data)) => {
                let (device, id) = (param.lazy_device(), param.id);
                let dtype = data.dtype();
                let tensor = Tensor::from_data(data, (&device, dtype));
                param.transform_for_load(tensor, id)
            }
            Ok(None) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}

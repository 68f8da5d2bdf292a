//! A module's parameters: listed without allocating them, and their values and gradients by key.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Gradients, Tensor, TensorData},
};

use crate::{elements::transpose, keys::KeyMap};

/// Name and size of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Dotted path of fields, `blocks.0.norm1.weight`; norms under the names of checkpoints.
    pub path: String,
    /// Shape in the checkpoint's layout: a linear layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// Whether the checkpoint stores the transpose of what the module holds.
    pub transposed: bool,
}

impl ParameterInfo {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Lists the float parameters of a module in the order of its fields.
///
/// Burn initialises parameters lazily and this asks for shapes alone, so listing a model of a
/// billion parameters costs nothing.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterInfo> {
    let mut visitor = Lister::default();
    module.visit(&mut visitor);
    visitor.found
}

/// Total number of elements of a module's float parameters, without allocating them.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    parameters(module).iter().map(ParameterInfo::count).sum()
}

/// The values of a module's float parameters as f32, by checkpoint key and in its layout.
pub fn values<M: Module>(module: &M, keys: &KeyMap) -> BTreeMap<String, TensorData> {
    let mut found = BTreeMap::new();
    for_each_value(module, keys, &mut |key, data| {
        found.insert(key, data);
    });
    found
}

/// Gives the values of a module's float parameters away one at a time, as [`values`] has them.
pub(crate) fn for_each_value<M: Module>(
    module: &M,
    keys: &KeyMap,
    give: &mut dyn FnMut(String, TensorData),
) {
    module.visit(&mut Reader {
        path: ModulePath::default(),
        keys,
        gradients: None,
        give,
    });
}

/// The gradients of a module's float parameters as f32, by checkpoint key and in its layout;
/// parameters without a gradient are left out.
pub fn gradients<M: Module>(
    module: &M,
    gradients: &Gradients,
    keys: &KeyMap,
) -> BTreeMap<String, TensorData> {
    let mut found = BTreeMap::new();
    module.visit(&mut Reader {
        path: ModulePath::default(),
        keys,
        gradients: Some(gradients),
        give: &mut |key, data| {
            found.insert(key, data);
        },
    });
    found
}

/// The stack of names and container types that leads to a parameter.
#[derive(Debug, Default)]
struct ModulePath {
    names: Vec<String>,
    containers: Vec<String>,
}

impl ModulePath {
    fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// The dotted path, with the names that checkpoints give to a norm's parameters.
    fn dotted(&self) -> String {
        let mut path = self.names.join(".");
        if matches!(self.module(), Some("Struct:LayerNorm" | "Struct:GroupNorm")) {
            if let Some(stem) = path.strip_suffix(".gamma") {
                path = format!("{stem}.weight");
            } else if let Some(stem) = path.strip_suffix(".beta") {
                path = format!("{stem}.bias");
            }
        }
        path
    }

    /// PyTorch stores a linear layer's weight as `[out, in]`, Burn as `[in, out]`; a LoRA branch is two such.
    fn transposed(&self, rank: usize) -> bool {
        let name = self.names.last().map_or("", String::as_str);
        rank == 2
            && match self.module() {
                Some("Struct:Linear") => name == "weight",
                Some("Struct:LoraBranch") => name == "a" || name == "b",
                _ => false,
            }
    }

    fn module(&self) -> Option<&str> {
        self.containers
            .iter()
            .rev()
            .map(String::as_str)
            .find(|c| c.starts_with("Struct:"))
    }
}

#[derive(Default)]
struct Lister {
    path: ModulePath,
    found: Vec<ParameterInfo>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        let transposed = self.path.transposed(D);
        if transposed {
            shape.reverse();
        }
        self.found.push(ParameterInfo {
            path: self.path.dotted(),
            shape,
            transposed,
        });
    }
}

struct Reader<'a> {
    path: ModulePath,
    keys: &'a KeyMap,
    /// Read gradients where given, values otherwise.
    gradients: Option<&'a Gradients>,
    give: &'a mut dyn FnMut(String, TensorData),
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = match self.gradients {
            Some(gradients) => param.val().grad(gradients),
            None => Some(param.val()),
        };
        let Some(value) = value else { return };
        let data = value.into_data().convert_dtype(DType::F32);
        let data = if self.path.transposed(D) {
            transpose(&data)
        } else {
            data
        };
        (self.give)(self.keys.key(&self.path.dotted()), data);
    }
}

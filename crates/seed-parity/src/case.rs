//! The files of one case, read and checked.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use burn::tensor::{Device, Int, Tensor};
use seed_weights::Checkpoint;
use serde_json::Value;

use crate::error::ParityError;

/// A dimension that may be of any size.
pub(crate) const ANY: usize = 0;

/// Endings of files that hold tensors, the first that exists is read.
const ENDINGS: &[&str] = &["safetensors", "pth", "pt", "bin"];
const CONFIG: &str = "config.json";
const INPUTS: &str = "inputs";

/// One folder of golden values, and the device that runs it.
pub(crate) struct Case<'a> {
    folder: &'a Path,
    pub(crate) device: &'a Device,
    /// Sizes; null where the case has none.
    pub(crate) config: Value,
    /// Golden scalars and strings; null where the case has none.
    pub(crate) expected: Value,
    stats: Value,
    files: RefCell<BTreeMap<String, Rc<Checkpoint>>>,
    /// Files that were read as weights, by name without ending.
    weights: RefCell<BTreeSet<String>>,
}

impl<'a> Case<'a> {
    pub(crate) fn open(folder: &'a Path, device: &'a Device) -> Result<Self, ParityError> {
        let optional = |file: &str| {
            let path = folder.join(file);
            if path.is_file() {
                read_json(&path)
            } else {
                Ok(Value::Null)
            }
        };
        Ok(Self {
            folder,
            device,
            config: optional(CONFIG)?,
            expected: optional("expected.json")?,
            stats: optional("stats.json")?,
            files: RefCell::default(),
            weights: RefCell::default(),
        })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub(crate) fn json(&self, file: &str) -> Result<Value, ParityError> {
        read_json(&self.path(file))
    }

    /// A size of `config.json`.
    pub(crate) fn size(&self, key: &str) -> Result<usize, ParityError> {
        self.size_of(&self.config, CONFIG, key)
    }

    /// A size of another JSON file, already read.
    pub(crate) fn size_of(
        &self,
        json: &Value,
        file: &str,
        key: &str,
    ) -> Result<usize, ParityError> {
        let size = json[key]
            .as_u64()
            .and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.no_value(file, key, "size"))
    }

    /// A number of `config.json`, at a JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> Result<f64, ParityError> {
        let number = self.config.pointer(pointer).and_then(Value::as_f64);
        number.ok_or_else(|| self.no_value(CONFIG, pointer, "number"))
    }

    pub(crate) fn no_value(&self, file: &str, key: &str, wanted: &'static str) -> ParityError {
        ParityError::Value {
            path: self.path(file),
            key: key.to_owned(),
            wanted,
        }
    }

    /// The tolerance of `stats.json` for a golden tensor.
    pub(crate) fn tolerance(&self, name: &str) -> Option<f64> {
        self.stats[name]["atol"].as_f64()
    }

    /// A file of weights by its name without ending.
    pub(crate) fn weights(&self, stem: &str) -> Result<Rc<Checkpoint>, ParityError> {
        self.weights.borrow_mut().insert(stem.to_owned());
        self.checkpoint(stem)
    }

    /// A file of tensors by its name without ending.
    pub(crate) fn checkpoint(&self, stem: &str) -> Result<Rc<Checkpoint>, ParityError> {
        self.find(stem)?.ok_or_else(|| ParityError::NoCheckpoint {
            folder: self.folder.to_owned(),
            stem: stem.to_owned(),
            endings: ENDINGS,
        })
    }

    /// A file of tensors, if the case has it.
    pub(crate) fn find(&self, stem: &str) -> Result<Option<Rc<Checkpoint>>, ParityError> {
        if let Some(file) = self.files.borrow().get(stem) {
            return Ok(Some(Rc::clone(file)));
        }
        let candidates = ENDINGS
            .iter()
            .map(|ending| self.path(&format!("{stem}.{ending}")));
        let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let file = Rc::new(Checkpoint::open(path)?);
        self.files
            .borrow_mut()
            .insert(stem.to_owned(), Rc::clone(&file));
        Ok(Some(file))
    }

    /// Keys of a golden file; none if the case does not have it.
    pub(crate) fn golden_keys(&self, stem: &str) -> Result<Vec<String>, ParityError> {
        let file = self.find(stem)?;
        Ok(file.map_or(Vec::new(), |file| file.keys().map(str::to_owned).collect()))
    }

    /// The stems of all files of golden tensors: those that are neither inputs nor weights.
    pub(crate) fn golden_stems(&self) -> Result<Vec<String>, ParityError> {
        let mut stems = Vec::new();
        for entry in fs::read_dir(self.folder).map_err(ParityError::io(self.folder))? {
            let name = entry.map_err(ParityError::io(self.folder))?.file_name();
            if let Some(stem) = name
                .to_str()
                .and_then(|name| name.strip_suffix(".safetensors"))
                && !stem.starts_with(INPUTS)
                && !self.weights.borrow().contains(stem)
            {
                stems.push(stem.to_owned());
            }
        }
        stems.sort();
        Ok(stems)
    }

    pub(crate) fn has_input(&self, key: &str) -> Result<bool, ParityError> {
        let inputs = self.find(INPUTS)?;
        Ok(inputs.is_some_and(|inputs| inputs.shape(key).is_some()))
    }

    /// A float input, whose shape must be `expected`, with [`ANY`] for any size.
    pub(crate) fn input<const D: usize>(
        &self,
        key: &str,
        expected: [usize; D],
    ) -> Result<Tensor<D>, ParityError> {
        let data = self.checkpoint(INPUTS)?.float(key)?;
        self.check_shape(key, data.shape().as_slice(), &expected)?;
        Ok(Tensor::from_data(data, self.device))
    }

    /// An input of indices, each of which must be a row of a table of `rows`.
    pub(crate) fn indices<const D: usize>(
        &self,
        key: &str,
        expected: [usize; D],
        rows: usize,
    ) -> Result<Tensor<D, Int>, ParityError> {
        let data = self.checkpoint(INPUTS)?.int(key)?;
        self.check_shape(key, data.shape().as_slice(), &expected)?;
        let beyond = data
            .iter::<i64>()
            .find(|index| usize::try_from(*index).map_or(true, |index| index >= rows));
        match beyond {
            Some(found) => Err(ParityError::InputIndex {
                path: self.path(INPUTS),
                key: key.to_owned(),
                found,
                rows,
            }),
            None => Ok(Tensor::from_data(data, self.device)),
        }
    }

    /// Ids of texts `[batch, length]`, each a row of a table of `words`, none longer than the table of positions. A
    /// processor panics beyond it, a card reads something.
    pub(crate) fn texts(
        &self,
        key: &str,
        words: usize,
        longest: usize,
    ) -> Result<Tensor<2, Int>, ParityError> {
        let ids = self.indices(key, [ANY, ANY], words)?;
        let found = ids.dims();
        if found[1] <= longest {
            return Ok(ids);
        }
        Err(ParityError::InputShape {
            path: self.path(INPUTS),
            key: key.to_owned(),
            found: found.to_vec(),
            expected: format!("[_, at most {longest}]"),
        })
    }

    fn check_shape(
        &self,
        key: &str,
        found: &[usize],
        expected: &[usize],
    ) -> Result<(), ParityError> {
        let fits = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, expected)| *expected == ANY || found == expected);
        if fits {
            return Ok(());
        }
        let sizes = expected.iter().map(|size| match *size {
            ANY => "_".to_owned(),
            size => size.to_string(),
        });
        Err(ParityError::InputShape {
            path: self.path(INPUTS),
            key: key.to_owned(),
            found: found.to_vec(),
            expected: format!("[{}]", sizes.collect::<Vec<_>>().join(", ")),
        })
    }
}

fn read_json(path: &Path) -> Result<Value, ParityError> {
    let text = fs::read_to_string(path).map_err(ParityError::io(path))?;
    serde_json::from_str(&text).map_err(|source| ParityError::Json {
        path: path.to_owned(),
        source,
    })
}

//! The zip archives of `torch.save` (PyTorch since 1.6), read by ourselves where `pytorch-reader` refuses one for an entry that
//! is no weight: the files of CompVis carry a class of PyTorch Lightning as the key of a dict.

use std::{
    collections::{HashMap, hash_map},
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use safetensors::Dtype;
use zip::{CompressionMethod, ZipArchive};

use crate::{
    layout::byte_len,
    pickle::{Id, Pickle, Value},
    torch::MODELS,
};

/// The longest pickle that is read: a model's has some hundred bytes a tensor.
const MAX_PICKLE: u64 = 1 << 24;
/// How deep tensors are looked for, and how many values are looked at: a pickle may name itself.
const MAX_DEPTH: usize = 16;
const MAX_VISITS: usize = 1 << 20;

/// A tensor in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArchiveTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Where its first element is.
    pub(crate) position: u64,
    /// Elements from one index to the next of each axis, where it is not row-major.
    pub(crate) strides: Option<Vec<usize>>,
}

/// What an archive holds.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) tensors: HashMap<String, ArchiveTensor>,
    /// The entry of the root that they are below.
    pub(crate) below: Option<&'static str>,
}

impl Archive {
    /// Opens an archive, of which nothing is compressed; `None` if it is damaged, or holds no tensors.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        let mut archive = ZipArchive::new(BufReader::new(file)).ok()?;
        let mut places = HashMap::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).ok()?;
            let is_stored = entry.compression() == CompressionMethod::Stored;
            let (start, size) = (entry.data_start()?, entry.size());
            let is_there = start.checked_add(size).is_some_and(|end| end <= length);
            if is_stored && is_there && entry.compressed_size() == size && !entry.encrypted() {
                places.insert(entry.name().ok()?.into_owned(), (start, size));
            }
        }
        let pickles = places
            .keys()
            .filter_map(|name| name.strip_suffix("data.pkl"));
        let root = pickles
            .filter(|root| root.is_empty() || root.ends_with('/'))
            .min_by_key(|root| root.len())?
            .to_owned();
        let mut read = |name: &str| {
            let name = format!("{root}{name}");
            let (_, size) = places.get(&name).filter(|(_, size)| *size <= MAX_PICKLE)?;
            let mut bytes = Vec::new();
            let mut entry = archive.by_name(&name).ok()?;
            entry.read_to_end(&mut bytes).ok()?;
            (bytes.len() as u64 == *size).then_some(bytes)
        };
        if read("byteorder").is_some_and(|order| order != b"little") {
            return None;
        }
        let pickle = Pickle::read(&read("data.pkl")?)?;
        let storages = places.iter().filter_map(|(name, place)| {
            let key = name.strip_prefix(&root)?.strip_prefix("data/")?;
            Some((key, *place))
        });
        let storages: HashMap<&str, (u64, u64)> = storages.collect();
        let below = |entry: Option<&'static str>| {
            let from = match entry {
                Some(entry) => pickle.entry(pickle.root(), entry)?,
                None => pickle.root(),
            };
            let mut search = Search {
                pickle: &pickle,
                storages: &storages,
                found: HashMap::new(),
                visits: 0,
            };
            search.visit(from, &mut Vec::new())?;
            let tensors = search.found;
            (!tensors.is_empty()).then_some(Self {
                tensors,
                below: entry,
            })
        };
        let models = MODELS.into_iter().map(Some);
        models.chain([None]).find_map(below)
    }
}

/// The tensors below a value, by the way to each.
struct Search<'a> {
    pickle: &'a Pickle,
    storages: &'a HashMap<&'a str, (u64, u64)>,
    found: HashMap<String, ArchiveTensor>,
    visits: usize,
}

impl Search<'_> {
    /// `None` if two tensors would have one name, or there is no end.
    fn visit(&mut self, id: Id, path: &mut Vec<String>) -> Option<()> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return None;
        }
        if let Some(tensor) = self.tensor(id) {
            return match self.found.entry(path.join(".")) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(tensor);
                    Some(())
                }
                hash_map::Entry::Occupied(_) => None,
            };
        }
        if path.len() == MAX_DEPTH {
            return Some(());
        }
        let items: Vec<(String, Id)> = match self.pickle.value(id) {
            Value::Dict(items) => {
                let named = items.iter().filter_map(|(key, value)| {
                    let name = match self.pickle.value(*key) {
                        Value::Text(text) => text.clone(),
                        Value::Int(number) => number.to_string(),
                        _ => return None,
                    };
                    Some((name, *value))
                });
                // Of a key that is set twice, Python keeps the last.
                let last: HashMap<String, Id> = named.collect();
                last.into_iter().collect()
            }
            Value::List(items) | Value::Tuple(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, id)| (index.to_string(), *id)).collect()
            }
            _ => Vec::new(),
        };
        for (name, item) in items {
            path.push(name);
            self.visit(item, path)?;
            path.pop();
        }
        Some(())
    }

    /// A value as a tensor, if it is one that can be read.
    fn tensor(&self, id: Id) -> Option<ArchiveTensor> {
        let Value::Called(function, arguments) = self.pickle.value(id) else {
            return None;
        };
        let Value::Global(function) = self.pickle.value(*function) else {
            return None;
        };
        let arguments = self.pickle.tuple(*arguments)?;
        match function.as_str() {
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let inner = *arguments.first()?;
                // A tensor is not made of itself.
                (inner < id).then(|| self.tensor(inner))?
            }
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                let [storage, offset, shape, strides, ..] = *arguments else {
                    return None;
                };
                self.view(
                    storage,
                    self.pickle.size(offset)?,
                    self.pickle.sizes(shape)?,
                    self.pickle.sizes(strides)?,
                )
            }
            _ => None,
        }
    }

    /// A view of a storage, which must hold all of it.
    fn view(
        &self,
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Option<ArchiveTensor> {
        let Value::Outside(storage) = self.pickle.value(storage) else {
            return None;
        };
        let [tag, kind, key, ..] = *self.pickle.tuple(*storage)? else {
            return None;
        };
        let Value::Global(kind) = self.pickle.value(kind) else {
            return None;
        };
        if self.pickle.text(tag) != Some("storage") || strides.len() != shape.len() {
            return None;
        }
        let dtype = element_type(kind)?;
        let (start, size) = *self.storages.get(self.pickle.text(key)?)?;
        let width = dtype.bitsize() / 8;
        // More elements than are stored, all one: not what a weight is, and any number could be claimed.
        if byte_len(&shape, dtype)? as u64 > size {
            return None;
        }
        let end = offset.checked_add(extent(&shape, &strides)?)?;
        if end.checked_mul(width)? as u64 > size {
            return None;
        }
        let is_plain = strides_of(&shape)
            .iter()
            .zip(&strides)
            .zip(&shape)
            .all(|((plain, found), size)| *size == 1 || plain == found);
        Some(ArchiveTensor {
            dtype,
            position: start + (offset * width) as u64,
            strides: (!is_plain && !shape.contains(&0)).then_some(strides),
            shape,
        })
    }
}

/// Elements from a view's first to behind its last.
pub(crate) fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let axes = shape.iter().zip(strides);
    axes.map(|(size, stride)| (size - 1).checked_mul(*stride))
        .try_fold(1usize, |end, step| end.checked_add(step?))
}

/// The strides of a tensor that is row-major.
fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The elements of a view in row-major order, of the bytes from its first to its last.
pub(crate) fn gathered(bytes: &[u8], shape: &[usize], strides: &[usize], width: usize) -> Vec<u8> {
    let mut offsets = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        let inner = offsets.iter();
        offsets = inner
            .flat_map(|offset| (0..size).map(move |index| offset + index * stride))
            .collect();
    }
    let elements = offsets.iter();
    elements
        .flat_map(|offset| &bytes[offset * width..(offset + 1) * width])
        .copied()
        .collect()
}

fn element_type(storage: &str) -> Option<Dtype> {
    Some(match storage.strip_prefix("torch.")? {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

//! A checkpoint in several files: an index says which key is in which.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    path::{Component, Path},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::{
    checkpoint::Checkpoint,
    error::{IndexError, WeightsError},
    format::{Content, Format},
    layout::MAX_HEADER,
    source::Source,
};

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

/// The files of an index, each with the keys in it.
fn read(path: &Path, source: &Source) -> Result<BTreeMap<String, Vec<String>>, WeightsError> {
    let error = |source| WeightsError::Index {
        path: path.to_owned(),
        source,
    };
    if source.len() > MAX_HEADER {
        return Err(error(IndexError::TooLong(source.len())));
    }
    let mut json = vec![0; source.len() as usize];
    source.read(0, &mut json)?;
    let index: Index = serde_json::from_slice(&json)
        .map_err(|reason| error(IndexError::Json(reason.to_string())))?;
    let WeightMap {
        shard_of,
        duplicate,
    } = index.weight_map;
    if let Some(key) = duplicate {
        return Err(error(IndexError::DuplicateKey(key)));
    }
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, shard) in shard_of {
        if !is_inside(&shard) {
            return Err(error(IndexError::OutsideFolder(shard)));
        }
        shards.entry(shard).or_default().push(key);
    }
    Ok(shards)
}

/// The shards that an index names, as paths in its folder.
#[cfg(feature = "hub")]
pub(crate) fn names(path: &Path) -> Result<Vec<String>, WeightsError> {
    Ok(read(path, &Source::open(path)?)?.into_keys().collect())
}

/// Opens all shards of an index; tensors in them that the index does not list are left out.
pub(crate) fn open(path: &Path, source: &Source) -> Result<Checkpoint, WeightsError> {
    let error = |source| WeightsError::Index {
        path: path.to_owned(),
        source,
    };
    let shards = read(path, source)?;
    let files = shards.len();
    let mut whole: Option<Checkpoint> = None;
    for (shard, keys) in shards {
        let file = path.parent().unwrap_or(Path::new("")).join(&shard);
        if !file.exists() {
            return Err(error(IndexError::MissingShard(shard)));
        }
        let mut part = open_shard(&file)?;
        keep_listed(&mut part, &shard, keys).map_err(error)?;
        whole = Some(match whole {
            None => part,
            Some(whole) => whole.joined(part)?,
        });
    }
    let whole = whole.ok_or_else(|| error(IndexError::Empty))?;
    Ok(whole.described(path.display().to_string(), Format::Sharded { files }))
}

/// Opens a file that is no index; an index that named another could name itself.
fn open_shard(path: &Path) -> Result<Checkpoint, WeightsError> {
    let source = Source::open(path)?;
    let content = Content::read(&source)?;
    Checkpoint::from_file(path, source, &content)
}

/// Whether a relative path stays below where it starts.
pub(crate) fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Leaves the tensors of a shard that its index lists.
fn keep_listed(part: &mut Checkpoint, shard: &str, keys: Vec<String>) -> Result<(), IndexError> {
    if let Some(key) = keys.iter().find(|key| part.shape(key).is_none()) {
        return Err(IndexError::MissingKey {
            shard: shard.to_owned(),
            key: key.clone(),
        });
    }
    let keys: HashSet<String> = keys.into_iter().collect();
    part.retain(|key| keys.contains(key));
    Ok(())
}

struct WeightMap {
    shard_of: HashMap<String, String>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;

        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = WeightMap;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of file names by key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut found = WeightMap {
                    shard_of: HashMap::new(),
                    duplicate: None,
                };
                while let Some((key, shard)) = map.next_entry::<String, String>()? {
                    if found.shard_of.insert(key.clone(), shard).is_some() {
                        found.duplicate.get_or_insert(key);
                    }
                }
                Ok(found)
            }
        }

        deserializer.deserialize_map(WeightMapVisitor)
    }
}

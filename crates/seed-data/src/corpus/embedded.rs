//! The corpus that ships with the crate: emoji as six vendors draw them, with their names and
//! keywords from Unicode CLDR.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use liblzma::read::XzDecoder;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::caption::blip_caption;
use crate::error::DataError;
use crate::render::Style;
use crate::split::{Family, Split, families, family_key, split_of};

/// Who drew a picture. The two styles of Noto count as two vendors, both for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// Google's Noto Emoji (Apache-2.0).
    Noto,
    /// Google's older style (Apache-2.0).
    NotoV1,
    /// Twitter's Twemoji (CC-BY-4.0).
    Twemoji,
    /// Microsoft's Fluent Emoji, flat (MIT).
    FluentFlat,
    /// Emoji One 2 (CC-BY-4.0).
    Emojione,
    /// OpenMoji (CC-BY-SA-4.0): pictures made from it must be shared alike.
    Openmoji,
}

impl Vendor {
    /// All vendors, those for training first.
    pub const ALL: [Self; 6] = [
        Self::Noto,
        Self::NotoV1,
        Self::Twemoji,
        Self::FluentFlat,
        Self::Emojione,
        Self::Openmoji,
    ];

    /// The vendor's name in ids and in the `corpus` folder, such as `fluent-flat`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noto => "noto",
            Self::NotoV1 => "noto-v1",
            Self::Twemoji => "twemoji",
            Self::FluentFlat => "fluent-flat",
            Self::Emojione => "emojione",
            Self::Openmoji => "openmoji",
        }
    }

    /// What the vendor's drawings are for in the official split.
    pub fn split(self) -> Split {
        match self {
            Self::Noto | Self::NotoV1 | Self::Twemoji | Self::FluentFlat => Split::Train,
            Self::Emojione => Split::Validation,
            Self::Openmoji => Split::Test,
        }
    }

    fn packed(self) -> &'static [u8] {
        match self {
            Self::Noto => include_bytes!("../../corpus/noto/drawings.json.xz"),
            Self::NotoV1 => include_bytes!("../../corpus/noto-v1/drawings.json.xz"),
            Self::Twemoji => include_bytes!("../../corpus/twemoji/drawings.json.xz"),
            Self::FluentFlat => include_bytes!("../../corpus/fluent-flat/drawings.json.xz"),
            Self::Emojione => include_bytes!("../../corpus/emojione/drawings.json.xz"),
            Self::Openmoji => include_bytes!("../../corpus/openmoji/drawings.json.xz"),
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an emoji stands for.
#[derive(Clone, Debug)]
pub struct Concept {
    /// Code points in upper-case hexadecimal, joined by `-`, without variation selectors.
    pub hexcode: String,
    /// The emoji itself.
    pub emoji: String,
    /// CLDR short name, such as "wine glass".
    pub label: String,
    /// CLDR keywords.
    pub tags: Vec<String>,
    /// Group in the Unicode charts, such as `food-drink`.
    pub group: String,
    /// Subgroup, such as `drink`.
    pub subgroup: String,
    /// Number of the family: concepts of one family are in the same part of the split
    /// (see [`crate::split`]).
    pub family: usize,
    /// The part of the data the concept belongs to; `None` for flags, which are in none.
    pub split: Option<Split>,
    /// Cleaned captions: the label with its tags, then the label alone if that differs.
    pub captions: Vec<String>,
}

impl Concept {
    /// True for flags, which stay out of training, validation and test.
    pub fn is_flag(&self) -> bool {
        self.group == FLAGS
    }

    fn new(packed: PackedConcept, key: &str, family: Family) -> Self {
        Self {
            family: family.number,
            split: (packed.group != FLAGS).then(|| split_of(key, family.members)),
            captions: captions(&packed.label, &packed.tags),
            hexcode: packed.hexcode,
            emoji: packed.emoji,
            label: packed.label,
            tags: packed.tags,
            group: packed.group,
            subgroup: packed.subgroup,
        }
    }
}

/// One vendor's drawing of one concept.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Who drew it.
    pub vendor: Vendor,
    /// Index into [`Corpus::concepts`].
    pub concept: usize,
    /// `vendor/HEXCODE`, unique in the corpus.
    pub id: String,
    /// What stands inside the `<svg>` element.
    pub body: String,
    /// Left, top, width and height of the canvas, in the drawing's own units.
    pub viewbox: [f32; 4],
}

impl Drawing {
    /// The drawing as an SVG document.
    pub fn svg(&self, style: Style) -> String {
        let [left, top, width, height] = self.viewbox;
        let stroke = style.attributes(width.max(height));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{left} {top} {width} {height}"{stroke}>{}</svg>"#,
            style.restyle(&self.body)
        )
    }
}

/// The embedded corpus. Clones share the data.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub(super) concepts: Arc<[Concept]>,
    pub(super) drawings: Arc<[Drawing]>,
}

const FLAGS: &str = "flags";
const CONCEPTS: &[u8] = include_bytes!("../../corpus/emojibase/concepts.json.xz");

#[derive(Deserialize)]
struct PackedConcept {
    hexcode: String,
    emoji: String,
    label: String,
    tags: Vec<String>,
    group: String,
    subgroup: String,
}

#[derive(Deserialize)]
struct Pack {
    viewbox: [f32; 4],
    drawings: BTreeMap<String, PackedDrawing>,
}

#[derive(Deserialize)]
struct PackedDrawing {
    body: String,
    viewbox: Option<[f32; 4]>,
}

impl Corpus {
    /// The corpus that is part of the program, unpacked on the first call.
    ///
    /// # Errors
    /// [`DataError::Corpus`] if an embedded file cannot be read; it must then be rebuilt
    /// (`corpus/README.md`).
    pub fn embedded() -> Result<Self, DataError> {
        static CORPUS: OnceLock<Corpus> = OnceLock::new();
        if let Some(corpus) = CORPUS.get() {
            return Ok(corpus.clone());
        }
        let corpus = Self::unpack()?;
        Ok(CORPUS.get_or_init(|| corpus).clone())
    }

    fn unpack() -> Result<Self, DataError> {
        let packed: Vec<PackedConcept> = unpack("emojibase", CONCEPTS)?;
        let keys: Vec<String> = packed
            .iter()
            .map(|concept| family_key(&concept.label, &concept.group))
            .collect();
        let families = families(&keys);
        let concepts: Vec<Concept> = packed
            .into_iter()
            .zip(&keys)
            .map(|(packed, key)| Concept::new(packed, key, families[key.as_str()]))
            .collect();
        let index: HashMap<&str, usize> = concepts
            .iter()
            .enumerate()
            .map(|(i, c)| (c.hexcode.as_str(), i))
            .collect();
        let by_vendor = Vendor::ALL
            .par_iter()
            .map(|&vendor| vendor_drawings(vendor, &index))
            .collect::<Result<Vec<_>, _>>()?;
        let drawings = by_vendor.into_iter().flatten().collect();
        Ok(Self {
            concepts: concepts.into(),
            drawings,
        })
    }

    /// All concepts, in the order of the Unicode charts, flags included.
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// All drawings, by vendor in the order of [`Vendor::ALL`], then by concept.
    pub fn drawings(&self) -> &[Drawing] {
        &self.drawings
    }
}

/// A vendor's drawings by concept.
fn vendor_drawings(
    vendor: Vendor,
    index: &HashMap<&str, usize>,
) -> Result<Vec<Drawing>, DataError> {
    let pack: Pack = unpack(vendor.name(), vendor.packed())?;
    let drawing = |(hexcode, drawing): (String, PackedDrawing)| {
        let Some(&concept) = index.get(hexcode.as_str()) else {
            let reason = format!("it draws {hexcode}, which is no concept");
            return Err(DataError::Corpus {
                file: vendor.name(),
                reason,
            });
        };
        Ok(Drawing {
            vendor,
            concept,
            id: format!("{vendor}/{hexcode}"),
            body: drawing.body,
            viewbox: drawing.viewbox.unwrap_or(pack.viewbox),
        })
    };
    let mut drawings = pack
        .drawings
        .into_iter()
        .map(drawing)
        .collect::<Result<Vec<_>, _>>()?;
    drawings.sort_by_key(|drawing| drawing.concept);
    Ok(drawings)
}

fn unpack<T: DeserializeOwned>(file: &'static str, packed: &[u8]) -> Result<T, DataError> {
    let mut json = Vec::new();
    std::io::Read::read_to_end(&mut XzDecoder::new(packed), &mut json)
        .map_err(serde_json::Error::io)
        .and_then(|_| serde_json::from_slice(&json))
        .map_err(|error| DataError::Corpus {
            file,
            reason: error.to_string(),
        })
}

/// The label with the tags that add to it, and the label alone.
fn captions(label: &str, tags: &[String]) -> Vec<String> {
    let label = blip_caption(label);
    let words = |text: &str| -> Vec<String> {
        text.split([' ', ','])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let known = words(&label);
    let adds = |tag: &String| words(tag).iter().any(|word| !known.contains(word));
    let tags = tags.iter().map(|tag| blip_caption(tag)).filter(adds);
    let full: Vec<String> = std::iter::once(label.clone()).chain(tags).collect();
    let mut captions = vec![blip_caption(&full.join(", ")), label];
    captions.dedup();
    captions
}

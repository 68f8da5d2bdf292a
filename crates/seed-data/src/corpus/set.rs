//! Parts of the corpus as sets of image-text pairs.

use image::RgbImage;
use rayon::prelude::*;

use super::embedded::{Concept, Corpus, Drawing, Vendor};
use crate::cache::{Cache, CacheKey, Rows};
use crate::error::DataError;
use crate::pair::PairSet;
use crate::render::{RENDERER, Style, render_svg};
use crate::split::Split;

/// Which drawings to take.
#[derive(Clone, Copy, Debug)]
pub struct Subset<'a> {
    /// Whose drawings.
    pub vendors: &'a [Vendor],
    /// Drawings of what.
    pub concepts: ConceptFilter,
}

/// Which concepts to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConceptFilter {
    /// Concepts of the training split that at least one training vendor draws.
    Seen,
    /// Concepts held out for validation.
    UnseenValidation,
    /// Concepts held out for test.
    UnseenTest,
    /// Flags, which none of the others includes.
    Flags,
    /// Every concept, flags included.
    All,
}

impl Corpus {
    /// The pairs of a part of the corpus, rendered plainly at [`CorpusSet::DEFAULT_SIZE`].
    pub fn select(&self, subset: Subset<'_>) -> CorpusSet {
        let mut drawn_for_training = vec![false; self.concepts.len()];
        for drawing in self.drawings.iter() {
            drawn_for_training[drawing.concept] |= drawing.vendor.split() == Split::Train;
        }
        let takes = |drawing: &Drawing| {
            let concept = &self.concepts[drawing.concept];
            subset.vendors.contains(&drawing.vendor)
                && match subset.concepts {
                    ConceptFilter::Seen => {
                        concept.split == Some(Split::Train) && drawn_for_training[drawing.concept]
                    }
                    ConceptFilter::UnseenValidation => concept.split == Some(Split::Validation),
                    ConceptFilter::UnseenTest => concept.split == Some(Split::Test),
                    ConceptFilter::Flags => concept.is_flag(),
                    ConceptFilter::All => true,
                }
        };
        let drawings = (0..self.drawings.len())
            .filter(|&i| takes(&self.drawings[i]))
            .collect();
        CorpusSet {
            corpus: self.clone(),
            drawings,
            size: CorpusSet::DEFAULT_SIZE,
            style: Style::Plain,
        }
    }

    /// What models are trained on: the training vendors' drawings of seen concepts.
    pub fn train(&self) -> CorpusSet {
        self.of(Split::Train, ConceptFilter::Seen)
    }

    /// Seen concepts as the validation vendor draws them.
    pub fn validation_seen(&self) -> CorpusSet {
        self.of(Split::Validation, ConceptFilter::Seen)
    }

    /// Concepts held out for validation as the validation vendor draws them.
    pub fn validation_unseen(&self) -> CorpusSet {
        self.of(Split::Validation, ConceptFilter::UnseenValidation)
    }

    /// Seen concepts as the test vendor draws them.
    pub fn test_seen(&self) -> CorpusSet {
        self.of(Split::Test, ConceptFilter::Seen)
    }

    /// Concepts held out for test as the test vendor draws them.
    pub fn test_unseen(&self) -> CorpusSet {
        self.of(Split::Test, ConceptFilter::UnseenTest)
    }

    /// Flags as the vendors of one part draw them.
    pub fn flags(&self, split: Split) -> CorpusSet {
        self.of(split, ConceptFilter::Flags)
    }

    fn of(&self, split: Split, concepts: ConceptFilter) -> CorpusSet {
        let vendors: Vec<Vendor> = Vendor::ALL
            .into_iter()
            .filter(|vendor| vendor.split() == split)
            .collect();
        self.select(Subset {
            vendors: &vendors,
            concepts,
        })
    }
}

/// A part of the corpus whose pictures are rendered when they are asked for.
#[derive(Clone, Debug)]
pub struct CorpusSet {
    corpus: Corpus,
    /// Indices into the corpus's drawings.
    drawings: Vec<usize>,
    size: u32,
    style: Style,
}

impl CorpusSet {
    /// Side of the pictures in pixels unless [`CorpusSet::with_size`] says otherwise.
    pub const DEFAULT_SIZE: u32 = 128;

    /// Renders squares of `size` pixels a side.
    pub fn with_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// Renders in another style.
    pub fn with_style(self, style: Style) -> Self {
        Self { style, ..self }
    }

    /// Side of the pictures in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The drawing of a pair.
    pub fn drawing(&self, index: usize) -> &Drawing {
        &self.corpus.drawings[self.drawings[index]]
    }

    /// The concept of a pair; its index is [`PairSet::concept`].
    pub fn concept_of(&self, index: usize) -> &Concept {
        &self.corpus.concepts[self.drawing(index).concept]
    }

    /// Renders every picture, on all threads, or finds them rendered in the cache.
    ///
    /// # Errors
    /// As [`Cache::get_or_build`], and [`DataError::Svg`] for a drawing that cannot be rendered.
    pub fn render_all(&self, cache: &Cache) -> Result<RenderedSet, DataError> {
        /// Pictures rendered before they are written: bounds the memory taken.
        const BATCH: usize = 256;
        let row_bytes = self.size as usize * self.size as usize * 3;
        let key = CacheKey::new("rendered", row_bytes).part("set", hex(&self.fingerprint()));
        let rows = cache.get_or_build(&key, self.len(), |writer| {
            for start in (0..self.len()).step_by(BATCH) {
                let pictures = (start..self.len().min(start + BATCH))
                    .into_par_iter()
                    .map(|index| self.picture(index))
                    .collect::<Result<Vec<_>, _>>()?;
                for picture in pictures {
                    writer.push(picture.as_raw())?;
                }
            }
            Ok::<_, DataError>(())
        })?;
        Ok(RenderedSet {
            set: self.clone(),
            rows,
        })
    }
}

impl PairSet for CorpusSet {
    fn len(&self) -> usize {
        self.drawings.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.drawing(index).id
    }

    fn captions(&self, index: usize) -> &[String] {
        &self.concept_of(index).captions
    }

    /// The label with its keywords: the other caption is a part of it.
    fn candidates(&self, index: usize) -> &[String] {
        let captions = self.captions(index);
        &captions[..captions.len().min(1)]
    }

    /// The label alone: keywords are no sentence.
    fn references(&self, index: usize) -> &[String] {
        self.concept_of(index).training_prompts()
    }

    fn concept(&self, index: usize) -> usize {
        self.drawing(index).concept
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let drawing = self.drawing(index);
        render_svg(&drawing.svg(self.style), self.size).map_err(|source| DataError::Svg {
            id: drawing.id.clone(),
            source,
        })
    }

    /// Hash of the drawing as an SVG document.
    fn content(&self, index: usize) -> [u8; 32] {
        blake3::hash(self.drawing(index).svg(self.style).as_bytes()).into()
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        // Lengths first, so that no two lists of strings look alike.
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        add(RENDERER);
        add(&self.size.to_string());
        for index in 0..self.len() {
            add(self.id(index));
            self.captions(index).iter().for_each(|caption| add(caption));
            add(&self.drawing(index).svg(self.style));
        }
        hasher.finalize().into()
    }
}

/// A part of the corpus with all its pictures rendered: rows of `size × size × 3` bytes, RGB, read
/// from the cache's file.
#[derive(Clone, Debug)]
pub struct RenderedSet {
    set: CorpusSet,
    rows: Rows,
}

impl RenderedSet {
    /// The pictures, one row each: `[len, size, size, 3]` bytes.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The set the pictures were rendered from.
    pub fn set(&self) -> &CorpusSet {
        &self.set
    }
}

impl PairSet for RenderedSet {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn id(&self, index: usize) -> &str {
        self.set.id(index)
    }

    fn captions(&self, index: usize) -> &[String] {
        self.set.captions(index)
    }

    fn candidates(&self, index: usize) -> &[String] {
        self.set.candidates(index)
    }

    fn references(&self, index: usize) -> &[String] {
        self.set.references(index)
    }

    fn concept(&self, index: usize) -> usize {
        self.set.concept(index)
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let size = self.set.size;
        let row = self.rows.row(index)?;
        Ok(RgbImage::from_raw(size, size, row).expect("rows have the size of a picture"))
    }

    fn content(&self, index: usize) -> [u8; 32] {
        self.set.content(index)
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.set.fingerprint()
    }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

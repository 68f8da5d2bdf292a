//! Sequences side by side, or several in one row, with the places of their targets.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{Layout, LmError, Sequence};

/// Sequences as rows of ids, with what is to be predicted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceBatch {
    /// Ids `[rows, length]`, row-major.
    pub ids: Vec<i64>,
    /// Which sequence of its row a token belongs to, from 1; 0 for padding.
    pub segments: Vec<i64>,
    /// Rows and length.
    pub shape: [usize; 2],
    /// Row-major places of the tokens that predict.
    pub places: Vec<i64>,
    /// What comes after each of them.
    pub targets: Vec<i64>,
    /// How far into its target each stands, from 0.
    pub depths: Vec<usize>,
    /// Which sequence each belongs to.
    pub owners: Vec<usize>,
}

impl SequenceBatch {
    /// A row a sequence, padded on the right.
    ///
    /// # Errors
    ///
    /// [`LmError::TooLong`] if one is longer than `longest`.
    pub fn padded(sequences: &[Sequence], pad: u32, longest: usize) -> Result<Self, LmError> {
        let rows = (0..sequences.len()).map(|index| vec![index]).collect();
        Self::of_rows(sequences, rows, pad, longest)
    }

    /// Several sequences a row, as many as fit into `longest` tokens, first come first served: fewer rows, and
    /// the same losses.
    ///
    /// # Errors
    ///
    /// [`LmError::TooLong`] if one is longer than `longest`.
    pub fn packed(sequences: &[Sequence], pad: u32, longest: usize) -> Result<Self, LmError> {
        let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            let length = sequence.ids.len();
            match rows.iter_mut().find(|(used, _)| used + length <= longest) {
                Some((used, row)) => {
                    *used += length;
                    row.push(index);
                }
                None => rows.push((length, vec![index])),
            }
        }
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Self::of_rows(sequences, rows, pad, longest)
    }

    fn of_rows(
        sequences: &[Sequence],
        rows: Vec<Vec<usize>>,
        pad: u32,
        longest: usize,
    ) -> Result<Self, LmError> {
        let used = |row: &Vec<usize>| row.iter().map(|index| sequences[*index].ids.len()).sum();
        let length: usize = rows.iter().map(used).max().unwrap_or(0);
        if length > longest {
            return Err(LmError::TooLong { length, longest });
        }
        let size = rows.len() * length;
        let mut batch = Self {
            ids: vec![i64::from(pad); size],
            segments: vec![0; size],
            shape: [rows.len(), length],
            places: Vec::new(),
            targets: Vec::new(),
            depths: Vec::new(),
            owners: Vec::new(),
        };
        for (row, members) in rows.into_iter().enumerate() {
            let mut at = row * length;
            for (segment, index) in members.into_iter().enumerate() {
                let sequence = &sequences[index];
                for (offset, id) in sequence.ids.iter().enumerate() {
                    batch.ids[at + offset] = i64::from(*id);
                    batch.segments[at + offset] = segment as i64 + 1;
                    // The first token of all follows nothing.
                    if offset >= sequence.target.max(1) {
                        batch.places.push((at + offset) as i64 - 1);
                        batch.targets.push(i64::from(*id));
                        batch.depths.push(offset - sequence.target);
                        batch.owners.push(index);
                    }
                }
                at += sequence.ids.len();
            }
        }
        Ok(batch)
    }

    /// Ids on a device, `[rows, length]`.
    pub fn ids(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), self.shape), device)
    }

    /// Positions and attention.
    pub fn layout(&self, device: &Device) -> Layout {
        let several = self.segments.iter().any(|segment| *segment > 1);
        let segments = TensorData::new(self.segments.clone(), self.shape);
        let segments = Tensor::from_data(segments, device);
        if several {
            Layout::packed(segments)
        } else if self.segments.contains(&0) {
            Layout::padded(segments)
        } else {
            Layout::full(self.shape[1], device)
        }
    }

    /// Places of the tokens that predict, and what comes after them, `[targets]`.
    pub fn targets(&self, device: &Device) -> [Tensor<1, Int>; 2] {
        [&self.places, &self.targets].map(|values| Tensor::from_data(values.as_slice(), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], target: usize) -> Sequence {
        Sequence {
            ids: ids.to_vec(),
            target,
        }
    }

    #[test]
    fn packing_keeps_every_target() {
        let sequences = [
            sequence(&[5, 6, 7], 1),
            sequence(&[8, 9, 10, 11], 3),
            sequence(&[12, 13], 1),
        ];
        let padded = SequenceBatch::padded(&sequences, 1, 6).unwrap();
        assert_eq!(padded.shape, [3, 4]);
        assert_eq!(padded.targets, [6, 7, 11, 13]);
        assert_eq!(padded.places, [0, 1, 6, 8]);
        let packed = SequenceBatch::packed(&sequences, 1, 6).unwrap();
        assert_eq!(packed.shape, [2, 5]);
        assert_eq!(packed.ids, [5, 6, 7, 12, 13, 8, 9, 10, 11, 1]);
        assert_eq!(packed.segments, [1, 1, 1, 2, 2, 1, 1, 1, 1, 0]);
        assert_eq!(packed.targets, [6, 7, 13, 11]);
        assert_eq!(packed.places, [0, 1, 3, 7]);
        assert_eq!(packed.owners, [0, 0, 2, 1]);
        assert_eq!(packed.depths, [0, 1, 0, 0]);
        let error = SequenceBatch::padded(&sequences, 1, 3).unwrap_err();
        assert!(error.to_string().contains("4 tokens"), "{error}");
    }
}

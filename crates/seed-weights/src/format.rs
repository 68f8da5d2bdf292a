//! The formats of checkpoints, and what tells them apart.

use std::fmt;

use crate::{error::WeightsError, layout::MAX_HEADER, source::Source};

/// How a checkpoint is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// One safetensors file.
    Safetensors,
    /// Several files with an index.
    Sharded {
        /// How many.
        files: usize,
    },
    /// A file of `torch.save`.
    Torch {
        /// `zip` since PyTorch 1.6, `pickle` and `tar` before.
        container: &'static str,
        /// The entry of the root that the tensors are below, if they are not at the root.
        below: Option<&'static str>,
    },
    /// Several checkpoints read as one.
    Joined,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors => formatter.write_str("safetensors"),
            Self::Sharded { files: 1 } => formatter.write_str("one shard"),
            Self::Sharded { files } => write!(formatter, "{files} shards"),
            Self::Torch { container, below } => {
                write!(formatter, "PyTorch {container}")?;
                match below {
                    Some(entry) => write!(formatter, ", below `{entry}`"),
                    None => Ok(()),
                }
            }
            Self::Joined => formatter.write_str("several checkpoints joined"),
        }
    }
}

/// Bytes that tell the formats apart; a tar archive says what it is in byte 257.
const SNIFFED: u64 = 512;

/// What a file holds, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Safetensors,
    Torch,
    Json,
    Other(&'static str),
}

impl Content {
    pub(crate) fn read(source: &Source) -> Result<Self, WeightsError> {
        let mut start = vec![0; source.len().min(SNIFFED) as usize];
        source.read(0, &mut start)?;
        Ok(Self::of(&start))
    }

    fn of(start: &[u8]) -> Self {
        /// The number that a pickle of PyTorch before 1.6 begins with, in binary and in text.
        const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
        const MAGIC_TEXT: &[u8] = b"119547037146038801333356";
        let holds = |magic: &[u8]| {
            let near = &start[..start.len().min(64)];
            near.windows(magic.len()).any(|window| window == magic)
        };
        let is_text = start.iter().take(64).all(|&byte| byte != 0);
        let header = start
            .first_chunk()
            .map(|&length| u64::from_le_bytes(length));
        let opens_object = start.get(8) == Some(&b'{');
        match start {
            [] => Self::Other("empty"),
            _ if opens_object && header.is_some_and(|bytes| bytes <= MAX_HEADER) => {
                Self::Safetensors
            }
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Torch,
            _ if start.get(257..262) == Some(b"ustar") => Self::Torch,
            _ if holds(MAGIC) || holds(MAGIC_TEXT) => Self::Torch,
            [0x80, 0..=5, ..] => Self::Torch,
            _ if is_text && start.trim_ascii_start().first() == Some(&b'{') => Self::Json,
            _ if opens_object => Self::Safetensors,
            [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Self::Other("a picture"),
            _ if start.is_ascii() && is_text => Self::Other("text"),
            _ => Self::Other("of no known format"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_known_by_its_first_bytes() {
        let safetensors = [&[2, 0, 0, 0, 0, 0, 0, 0][..], b"{}"].concat();
        // 128 and 123 as lengths look like a pickle and like JSON.
        let like_pickle = [&[128, 2, 0, 0, 0, 0, 0, 0][..], b"{"].concat();
        let like_json = [&[b'{', 0, 0, 0, 0, 0, 0, 0][..], b"{"].concat();
        let claims_terabytes = [&[0, 0, 0, 0, 0, 1, 0, 0][..], b"{"].concat();
        let cases: [(&[u8], Content); 11] = [
            (&safetensors, Content::Safetensors),
            (&like_pickle, Content::Safetensors),
            (&like_json, Content::Safetensors),
            (&claims_terabytes, Content::Safetensors),
            (br#"{"meta":{}}"#, Content::Json),
            (b"PK\x03\x04", Content::Torch),
            (b"\x80\x02}q\x00.", Content::Torch),
            (b"", Content::Other("empty")),
            (b"\x89PNG\r\n", Content::Other("a picture")),
            (b"config of a model", Content::Other("text")),
            (&[0; 64], Content::Other("of no known format")),
        ];
        for (start, content) in cases {
            assert_eq!(Content::of(start), content, "{start:?}");
        }
    }
}

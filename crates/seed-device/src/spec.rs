//! The written form of a device.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Precision;

/// A device as a user writes it, not yet opened.
///
/// Parses from and prints as `flex`, `ndarray`, `libtorch`, `libtorch:cuda:N`, `cuda:N` (`cuda` is
/// `cuda:0`) or `wgpu`. Any of them parses whether or not its backend was compiled in;
/// [`DeviceSpec::open`] finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// Burn's own CPU backend, in pure Rust.
    #[default]
    Flex,
    /// The `ndarray` CPU backend.
    NdArray,
    /// libtorch on the CPU.
    Libtorch,
    /// libtorch on the given NVIDIA GPU.
    LibtorchCuda(usize),
    /// CubeCL on the given NVIDIA GPU.
    Cuda(usize),
    /// CubeCL through wgpu, on the default adapter.
    Wgpu,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The text names no device.
    #[error(
        "unknown device `{0}`: write one of flex, ndarray, libtorch, libtorch:cuda:N, cuda:N, wgpu"
    )]
    Unknown(String),
    /// The backend behind the device is not part of this build.
    #[error(
        "device `{device}` is not compiled in (this build has: {}): build again with `--features {feature}`",
        .available.join(", ")
    )]
    NotCompiled {
        /// The device that was asked for.
        device: DeviceSpec,
        /// The Cargo feature that turns it on.
        feature: &'static str,
        /// The features of this build.
        available: Vec<&'static str>,
    },
    /// The backend is compiled in, but the hardware or its driver is not there.
    #[error("device `{device}` was not found: {hint}")]
    NotFound {
        /// The device that was asked for.
        device: DeviceSpec,
        /// What to install or check.
        hint: String,
    },
    /// The device has no numbers of this type.
    #[error(
        "device `{device}` does not compute in {precision}: choose {}, or another device (`seed devices --verbose`)",
        has.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    )]
    Precision {
        /// The device, as it calls itself.
        device: String,
        /// What was asked for.
        precision: Precision,
        /// What it has.
        has: Vec<Precision>,
    },
}

impl DeviceSpec {
    /// The Cargo feature that compiles this device's backend in.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Libtorch | Self::LibtorchCuda(_) => "tch",
            Self::Cuda(_) => "cuda",
            Self::Wgpu => "wgpu",
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        let index = |digits: &str| digits.parse::<usize>().map_err(|_| unknown());
        match text {
            "flex" => Ok(Self::Flex),
            "ndarray" => Ok(Self::NdArray),
            "libtorch" => Ok(Self::Libtorch),
            "cuda" => Ok(Self::Cuda(0)),
            "wgpu" => Ok(Self::Wgpu),
            _ => {
                if let Some(digits) = text.strip_prefix("libtorch:cuda:") {
                    Ok(Self::LibtorchCuda(index(digits)?))
                } else if let Some(digits) = text.strip_prefix("cuda:") {
                    Ok(Self::Cuda(index(digits)?))
                } else {
                    Err(unknown())
                }
            }
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Libtorch => f.write_str("libtorch"),
            Self::LibtorchCuda(index) => write!(f, "libtorch:cuda:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_survives_a_round_trip() {
        for text in [
            "flex",
            "ndarray",
            "libtorch",
            "libtorch:cuda:3",
            "cuda:1",
            "wgpu",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
    }

    #[test]
    fn unknown_devices_are_named_in_the_error() {
        for text in ["", "gpu", "cuda:", "cuda:x", "libtorch:1", "Flex"] {
            let error = text.parse::<DeviceSpec>().unwrap_err();
            assert_eq!(error, DeviceError::Unknown(text.to_owned()));
            assert!(error.to_string().contains("libtorch:cuda:N"));
        }
    }
}

//! From the written form to a Burn device, and its random stream.

use burn::tensor::Device;

use crate::spec::{DeviceError, DeviceSpec};

/// The backend features of this build, in the order of preference for tests and listings.
pub fn compiled_backends() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("tch", cfg!(feature = "tch")),
        ("cuda", cfg!(feature = "cuda")),
        ("wgpu", cfg!(feature = "wgpu")),
    ];
    all.into_iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| name)
        .collect()
}

impl DeviceSpec {
    /// Opens the device, without autodiff: `device.autodiff()` gives the training one.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotCompiled`] if the build lacks the backend, [`DeviceError::NotFound`] if the
    /// machine lacks the hardware or the driver.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            // Burn 0.22 is the last line with these two; the pin is recorded in ARCHITECTURE.md.
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            Self::NdArray => Ok(Device::ndarray()),
            #[cfg(feature = "tch")]
            #[allow(deprecated)]
            Self::Libtorch => Ok(Device::libtorch()),
            #[cfg(feature = "tch")]
            #[allow(deprecated)]
            Self::LibtorchCuda(index) => {
                self.require_enumerated(burn::tensor::DeviceType::LibTorch, index + 1)?;
                Ok(Device::libtorch_cuda(index))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => {
                self.require_enumerated(burn::tensor::DeviceType::Cuda, index)?;
                Ok(Device::cuda(index))
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu => {
                self.require_enumerated(burn::tensor::DeviceType::Wgpu, 0)?;
                Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[allow(unreachable_patterns)]
            _ => Err(DeviceError::NotCompiled {
                device: self,
                feature: self.feature(),
                available: compiled_backends(),
            }),
        }
    }

    /// Burn opens GPUs lazily and panics at the first operation when there is none, so look first.
    #[cfg(any(feature = "tch", feature = "cuda", feature = "wgpu"))]
    fn require_enumerated(
        self,
        kind: burn::tensor::DeviceType,
        index: usize,
    ) -> Result<(), DeviceError> {
        let found = Device::enumerate(kind).into_vec().len();
        if index < found {
            return Ok(());
        }
        let hint = match self {
            Self::Cuda(_) => format!(
                "{found} CUDA device(s) visible; check the NVIDIA driver (`nvidia-smi`, libcuda.so.1) and CUDA_VISIBLE_DEVICES"
            ),
            Self::LibtorchCuda(_) => format!(
                "libtorch sees {} GPU(s); it must be the CUDA build of libtorch 2.9.0, with an NVIDIA driver",
                found.saturating_sub(1)
            ),
            _ => format!("{found} adapter(s) visible; install a Vulkan, Metal or DX12 driver"),
        };
        Err(DeviceError::NotFound { device: self, hint })
    }
}

/// Seeds the device's random stream (initialisation, dropout).
pub fn seed(device: &Device, seed: u64) {
    device.seed(seed);
}

/// The seed of one training step, a pure function of the run's seed and the step.
///
/// Seeding the device with it before each step makes dropout independent of history, so that a
/// resumed run needs no generator state. SplitMix64's finaliser keeps neighbouring steps unrelated.
pub fn step_seed(run_seed: u64, step: u64) -> u64 {
    let mut z = run_seed ^ step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_backend_says_which_feature_to_enable() {
        for spec in [
            DeviceSpec::NdArray,
            DeviceSpec::Cuda(0),
            DeviceSpec::Wgpu,
            DeviceSpec::Flex,
        ] {
            if compiled_backends().contains(&spec.feature()) {
                continue;
            }
            let message = spec.open().unwrap_err().to_string();
            assert!(
                message.contains(&format!("--features {}", spec.feature())),
                "{message}"
            );
        }
    }

    #[test]
    fn step_seeds_differ_between_steps_and_runs() {
        let mut seeds: Vec<u64> = (0..50)
            .flat_map(|run| (0..200).map(move |step| step_seed(run, step)))
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10_000);
    }
}

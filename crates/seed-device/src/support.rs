//! What a device has beside f32.

use burn::{
    backend::DispatchDevice,
    tensor::{DType, Device},
};

use crate::{DeviceError, Precision, fused};

/// The types of numbers that a device keeps and computes with, beside f32, which every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// Half precision.
    pub f16: bool,
    /// bfloat16.
    pub bf16: bool,
    /// Weights in 8 bits ([`fused::in_eight_bit`]), which are computed with in f32.
    pub eight_bit: bool,
}

impl Support {
    /// Asks the device.
    pub fn of(device: &Device) -> Self {
        Self {
            f16: device.supports_dtype(DType::F16),
            bf16: device.supports_dtype(DType::BF16),
            eight_bit: fused::keeps_eight_bit(device),
        }
    }

    /// Whether a precision is among them.
    pub fn has(self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::F16 => self.f16,
            Precision::Bf16 => self.bf16,
        }
    }

    /// The precisions, f32 first.
    pub fn precisions(self) -> Vec<Precision> {
        let all = [Precision::F32, Precision::F16, Precision::Bf16];
        all.into_iter().filter(|&one| self.has(one)).collect()
    }
}

impl Precision {
    /// Whether `device` keeps weights in this precision and computes in it.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Precision`] if it does not: Burn's backends panic then, or compute nonsense.
    pub fn require_on(self, device: &Device) -> Result<(), DeviceError> {
        let support = Support::of(device);
        if support.has(self) {
            return Ok(());
        }
        Err(DeviceError::Precision {
            device: name(device),
            precision: self,
            has: support.precisions(),
        })
    }
}

/// What an error calls a device: its backend, and the part behind it where the backend knows.
pub(crate) fn name(device: &Device) -> String {
    let device = device.clone().inner();
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => "flex".to_owned(),
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => "ndarray".to_owned(),
        #[cfg(feature = "tch")]
        DispatchDevice::LibTorch(_) => "libtorch".to_owned(),
        #[allow(unreachable_patterns)]
        other => part(&device).unwrap_or_else(|| format!("{other:?}")),
    }
}

/// The name of the part behind a GPU device, where its backend knows: `NVIDIA H100 PCIe`.
#[cfg_attr(not(any(feature = "cuda", feature = "wgpu")), allow(unused_variables))]
pub fn part(device: &Device) -> Option<String> {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    return device.identity().map(|identity| identity.name);
    #[cfg(not(any(feature = "cuda", feature = "wgpu")))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_device;

    #[test]
    fn every_device_has_f32_and_refuses_what_it_lacks_by_name() {
        let device = test_device();
        let support = Support::of(&device);
        // A line for `.ci/devices`.
        println!("has: {support:?}");
        assert_eq!(support, Support::of(&device.clone().autodiff()));
        assert_eq!(support.precisions()[0], Precision::F32);
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            let found = precision.require_on(&device);
            assert_eq!(found.is_ok(), support.has(precision));
            if let Err(error) = found {
                let text = error.to_string();
                assert!(text.contains(&precision.to_string()), "{text}");
                assert!(text.contains("f32"), "{text}");
            }
        }
    }

    /// The table of `docs/devices.md`, of the devices that are the same on every machine.
    #[test]
    fn the_processor_s_backends_have_what_the_documentation_says() {
        let expected = |feature: &str| match feature {
            "flex" => Some([true, true, true]),
            "ndarray" => Some([false, false, true]),
            "tch" => Some([true, true, false]),
            _ => None,
        };
        for spec in [
            crate::DeviceSpec::Flex,
            crate::DeviceSpec::NdArray,
            crate::DeviceSpec::Libtorch,
        ] {
            let Ok(device) = spec.open() else { continue };
            let found = Support::of(&device);
            let found = [found.f16, found.bf16, found.eight_bit];
            assert_eq!(Some(found), expected(spec.feature()), "{spec}");
        }
    }
}

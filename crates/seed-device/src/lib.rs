//! Devices, seeding and precision: the only crate that names a backend.
//!
//! A backend is a Cargo feature (`flex`, `ndarray`, `tch`, `cuda`, `wgpu`); a device is a run-time
//! value, written `flex | ndarray | libtorch[:cuda:N] | cuda[:N] | wgpu` on every command line of
//! the project. Everything else in the workspace takes a [`Device`] and asks no more.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! let device = "flex".parse::<seed_device::DeviceSpec>()?.open()?;
//! seed_device::seed(&device, 42);
//! # }
//! # Ok::<(), seed_device::DeviceError>(())
//! ```

mod dtype;
pub mod fused;
mod open;
mod spec;
mod support;
mod test_device;

pub use burn::tensor::Device;
pub use dtype::{Precision, UnknownPrecision};
pub use open::{compiled_backends, seed, step_seed};
pub use spec::{DeviceError, DeviceSpec};
pub use support::{Support, part};
pub use test_device::{left_out, test_device, test_precisions};

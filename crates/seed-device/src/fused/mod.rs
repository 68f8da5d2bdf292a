//! Operations of every transformer block and of the diffusion models' maps, as one step each under autodiff.
//!
//! Burn has LayerNorm, softmax and GELU as single operations of a backend, but its autodiff takes the
//! first two apart into a dozen, each with a pass over memory forward and one or two back; on
//! `flex` what is element by element runs on one thread; and the bias of a linear layer is a pass of its
//! own, its gradient a slow sum on libtorch. Here each is one node of the graph with a backward of its
//! own ([`Kernels`]), which `flex` computes on all threads. The same for convolution and GroupNorm
//! ([`MapKernels`]), whose gradients libtorch works out by itself.
//!
//! This is an extension of the backends, which is why it lives beside the devices.

#![allow(deprecated)] // Burn's libtorch and ndarray backends are, as a whole.

mod autodiff;
#[cfg(feature = "flex")]
mod correlation;
mod eight_bit;
#[cfg(feature = "flex")]
mod few_rows;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod flex_convolution;
#[cfg(feature = "flex")]
mod flex_group_norm;
#[cfg(feature = "flex")]
mod flex_maps;
#[cfg(feature = "flex")]
mod flex_tensor;
mod kernels;
#[cfg(feature = "flex")]
mod laid_out;
#[cfg(feature = "tch")]
mod libtorch;
#[cfg(feature = "tch")]
mod libtorch_maps;
mod maps;
#[cfg(feature = "flex")]
mod scalars;
#[cfg(feature = "flex")]
mod widen;

use burn::backend::{
    Backend, Dispatch, backend_extension,
    ops::{ConvOptions, ModuleOps},
    tensor::{FloatTensor, QuantizedTensor},
};
use burn::tensor::{DType, Tensor};
pub use eight_bit::{EIGHT_BIT_BLOCK, in_eight_bit, is_eight_bit, keeps_eight_bit};
pub use kernels::Kernels;
pub use maps::{Gradients, GroupNormOptions, Inputs, Kept, MapKernels};

/// The operations, for whichever backend a tensor is on.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    LibTorch: cfg(feature = "tch"),
    Cube: cfg(any(feature = "cuda", feature = "wgpu")),
    Autodiff
)]
pub trait FusedOps: Backend {
    /// See [`linear`].
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`product`].
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`product`], of a weight kept in 8 bits.
    fn fused_eight_bit_product(
        x: FloatTensor<Self>,
        weight: QuantizedTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`layer_norm`].
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// See [`softmax`].
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`gelu`].
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`dropout_mask`].
    fn fused_dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self>;
    /// See [`conv2d`].
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self>;
    /// See [`group_norm`] and [`group_norm_silu`].
    fn fused_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self>;
}

macro_rules! through_kernels {
    ($backend:ty) => {
        impl FusedOps for $backend {
            fn fused_linear(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::linear_forward(x, weight, bias)
            }

            fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::product(x, weight)
            }

            fn fused_eight_bit_product(
                x: FloatTensor<Self>,
                weight: QuantizedTensor<Self>,
            ) -> FloatTensor<Self> {
                Self::eight_bit_product(x, weight)
            }

            fn fused_layer_norm(
                x: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                epsilon: f64,
            ) -> FloatTensor<Self> {
                <Self as ModuleOps<Self>>::layer_norm(x, gamma, Some(beta), epsilon)
            }

            fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
                kernels::softmax_forward::<Self>(x)
            }

            fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
                Self::gelu_forward(x)
            }

            fn fused_dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self> {
                Self::dropout_mask(like, probability)
            }

            fn fused_conv2d(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                options: ConvOptions<2>,
            ) -> FloatTensor<Self> {
                Self::conv2d_forward([x, weight, bias], &options)
            }

            fn fused_group_norm(
                x: FloatTensor<Self>,
                gamma: FloatTensor<Self>,
                beta: FloatTensor<Self>,
                options: GroupNormOptions,
            ) -> FloatTensor<Self> {
                Self::group_norm_forward([x, gamma, beta], &options)
            }
        }
    };
}
#[cfg(feature = "flex")]
through_kernels!(burn::backend::Flex);
#[cfg(feature = "ndarray")]
through_kernels!(burn::backend::NdArray);
#[cfg(feature = "tch")]
through_kernels!(burn::backend::LibTorch);

#[cfg(any(feature = "cuda", feature = "wgpu"))]
through_kernels!(burn::backend::Cube);

/// `x · weight + bias`, computed in the type of `x`: a weight kept as f16, bf16 or in 8 bits is widened.
///
/// # Shapes
///
/// - x: `[.., input]`
/// - weight: `[input, output]`
/// - bias: `[output]`
/// - output: `[.., output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    if is_eight_bit(weight.dtype()) {
        return product(x, weight) + bias.unsqueeze();
    }
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// `x · weight`, computed in the type of `x`, as one product of all rows. For a few of them it is faster than the
/// general product on `flex`.
///
/// # Shapes
///
/// - x: `[.., input]`
/// - weight: `[input, output]`, or the transpose of what lies as `[output, input]`
/// - output: `[.., output]`
pub fn product<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    let mut shape = x.shape();
    let [input, output] = weight.dims();
    let rows = shape.num_elements() / input.max(1);
    shape[D - 1] = output;
    if rows == 0 {
        // Burn's ndarray divides by their number.
        return Tensor::zeros(shape, (&x.device(), x.dtype()));
    }
    let eight_bit = is_eight_bit(weight.dtype());
    let (x, weight) = (
        x.reshape([rows, input]).into_dispatch(),
        weight.into_dispatch(),
    );
    let product = if eight_bit {
        <Dispatch as FusedOps>::fused_eight_bit_product(x, weight)
    } else {
        <Dispatch as FusedOps>::fused_product(x, weight)
    };
    Tensor::<2>::from_dispatch(product).reshape(shape)
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta` over the last dimension.
///
/// # Shapes
///
/// - x, output: `[.., width]`
/// - gamma, beta: `[width]`
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    ))
}

/// Softmax over the last dimension.
///
/// # Shapes
///
/// - x, output: any
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_softmax(x.into_dispatch()))
}

/// `x · Φ(x)`, by the error function.
///
/// # Shapes
///
/// - x, output: any
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gelu(x.into_dispatch()))
}

/// What dropout multiplies with: 0 with the given probability, else `1 / (1 − probability)`, drawn from
/// the device's random stream. No gradient flows into it.
///
/// # Shapes
///
/// - like, output: any
pub fn dropout_mask<const D: usize>(like: Tensor<D>, probability: f64) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_dropout_mask(
        like.into_dispatch(),
        probability,
    ))
}

/// A convolution over height and width, with a border of zeros.
///
/// It is computed in the type of `x`: a weight kept as f16 or bf16 is widened.
///
/// # Shapes
///
/// - x: `[batch, input, height, width]`
/// - weight: `[output, input / groups, rows, columns]`
/// - bias: `[output]`
/// - output: `[batch, output, ..]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let (like, width) = ((&x.device(), x.dtype()), weight.dims()[0]);
    let bias = bias.unwrap_or_else(|| Tensor::zeros([width], like));
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        options,
    ))
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta`, with mean and variance of each group of channels over all places.
///
/// It is computed in f32, and given back in the type of `x`.
///
/// # Shapes
///
/// - x, output: `[batch, channels, height, width]`
/// - gamma, beta: `[channels]`
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    let options = GroupNormOptions {
        groups,
        epsilon,
        silu: false,
    };
    normalized_in_groups(x, gamma, beta, options)
}

/// [`group_norm`], and SiLU of the result: `y · σ(y)`.
pub fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    let options = GroupNormOptions {
        groups,
        epsilon,
        silu: true,
    };
    normalized_in_groups(x, gamma, beta, options)
}

fn normalized_in_groups(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let dtype = x.dtype();
    let output = Tensor::from_dispatch(<Dispatch as FusedOps>::fused_group_norm(
        in_type(x, DType::F32).into_dispatch(),
        in_type(gamma, DType::F32).into_dispatch(),
        in_type(beta, DType::F32).into_dispatch(),
        options,
    ));
    in_type(output, dtype)
}

fn in_type<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype {
        return tensor;
    }
    tensor.cast(dtype)
}

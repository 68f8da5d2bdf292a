//! What the fused operations need of a backend.

use burn::backend::{
    Backend, DType, Shape, TensorMetadata,
    tensor::{FloatTensor, QuantizedTensor},
};

/// `weight` in the type that `x` is computed in.
pub(super) fn like<B: Kernels>(weight: FloatTensor<B>, x: &FloatTensor<B>) -> FloatTensor<B> {
    if weight.dtype() == x.dtype() {
        return weight;
    }
    B::cast(weight, x.dtype())
}

/// Forward and backward passes and random masks. The default bodies are compositions of a backend's own
/// operations (`composed`); a backend that can do better overrides them.
pub trait Kernels: Backend {
    /// [`linear`](super::linear).
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = like::<Self>(weight, &x);
        Self::linear(x, weight, Some(bias))
    }

    /// [`product`](super::product).
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = like::<Self>(weight, &x);
        Self::float_matmul(x, weight)
    }

    /// A weight `[input, output]` in another type.
    fn cast(weight: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        Self::float_cast(weight, dtype.into())
    }

    /// The numbers that a weight kept in 8 bits stands for.
    fn widen_eight_bit(weight: QuantizedTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        Self::dequantize(weight, dtype.into())
    }

    /// [`product`](super::product) of a weight kept in 8 bits.
    fn eight_bit_product(x: FloatTensor<Self>, weight: QuantizedTensor<Self>) -> FloatTensor<Self> {
        composed::eight_bit_product::<Self>(x, weight)
    }

    /// Gradient of [`linear`](super::linear) and [`product`](super::product) with respect to `x`, as one product of all
    /// rows.
    fn linear_x_gradient(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::linear_x_gradient::<Self>(weight, gradient)
    }

    /// Gradient of [`linear`](super::linear) with respect to its bias: the sum of all rows.
    fn linear_bias_gradient(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::column_sums(rows::<Self>(gradient))
    }

    /// [`gelu`](super::gelu).
    fn gelu_forward(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu(x)
    }

    /// Gradient of [`gelu`](super::gelu).
    fn gelu_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu_gradient::<Self>(x, gradient)
    }

    /// Gradient of [`softmax`](super::softmax), from its output `y`.
    fn softmax_gradient(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::softmax_gradient::<Self>(y, gradient)
    }

    /// `x` with mean 0 and variance 1 over the last dimension, and what it was divided by, inverted:
    /// `[.., 1]`.
    fn normalize(x: FloatTensor<Self>, epsilon: f64) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let last = x.shape().num_dims() - 1;
        let mean = Self::float_mean_dim(x.clone(), last);
        let centred = Self::float_sub(x, mean);
        let square = Self::float_mul(centred.clone(), centred.clone());
        let variance = Self::float_mean_dim(square, last);
        let deviation = Self::float_sqrt(Self::float_add_scalar(variance, epsilon.into()));
        let inverse = Self::float_recip(deviation);
        (Self::float_mul(centred, inverse.clone()), inverse)
    }

    /// Sums of the columns of a matrix: `[rows, width]` → `[width]`.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::column_sums::<Self>(x)
    }

    /// Gradients of [`layer_norm`](super::layer_norm) with respect to `x`, `gamma` and `beta`.
    fn layer_norm_gradients(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> LayerNormGradients<Self> {
        composed::layer_norm_gradients::<Self>(x, gamma, gradient, epsilon)
    }

    /// [`dropout_mask`](super::dropout_mask).
    fn dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self> {
        composed::dropout_mask::<Self>(like, probability)
    }
}

/// Gradients of a LayerNorm's three inputs.
pub struct LayerNormGradients<B: Backend> {
    /// As `x`.
    pub x: FloatTensor<B>,
    /// `[width]`
    pub gamma: FloatTensor<B>,
    /// `[width]`
    pub beta: FloatTensor<B>,
}

/// A backend's own softmax over the last dimension.
pub(super) fn softmax_forward<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    B::softmax(x, last)
}

/// `[.., width]` as a matrix `[rows, width]`.
pub(super) fn rows<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    let rows = shape.num_elements() / width.max(1);
    B::float_reshape(x, Shape::new([rows, width]))
}

/// The operations as compositions of a backend's own: of any element type.
pub(super) mod composed {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

    use burn::backend::{
        Distribution, TensorMetadata,
        tensor::{FloatTensor, QuantizedTensor},
    };

    use super::{Kernels, LayerNormGradients, like, rows};

    pub(in super::super) fn eight_bit_product<B: Kernels>(
        x: FloatTensor<B>,
        weight: QuantizedTensor<B>,
    ) -> FloatTensor<B> {
        let weight = B::widen_eight_bit(weight, x.dtype());
        B::float_matmul(x, weight)
    }

    /// Gradient of [`eight_bit_product`] with respect to `x`.
    pub(in super::super) fn eight_bit_x_gradient<B: Kernels>(
        weight: QuantizedTensor<B>,
        gradient: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let weight = B::widen_eight_bit(weight, gradient.dtype());
        B::linear_x_gradient(weight, gradient)
    }

    pub(in super::super) fn linear_x_gradient<B: Kernels>(
        weight: FloatTensor<B>,
        gradient: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let weight = like::<B>(weight, &gradient);
        let mut shape = gradient.shape();
        let last = shape.num_dims() - 1;
        shape[last] = weight.shape()[0];
        let weight = B::float_swap_dims(weight, 0, 1);
        B::float_reshape(B::float_matmul(rows::<B>(gradient), weight), shape)
    }

    /// `Φ(x) + x·φ(x)`, by the error function. Burn's default `gelu_backward`, which ndarray, wgpu and cuda use, is the
    /// derivative of the approximation by tanh, which is off by up to 1e-3.
    pub(in super::super) fn gelu_gradient<B: Kernels>(
        x: FloatTensor<B>,
        gradient: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let scaled = B::float_mul_scalar(x.clone(), FRAC_1_SQRT_2.into());
        let below = B::float_add_scalar(B::float_erf(scaled), 1.0.into());
        let below = B::float_mul_scalar(below, 0.5.into());
        let square = B::float_mul(x.clone(), x.clone());
        let density = B::float_exp(B::float_mul_scalar(square, (-0.5).into()));
        let density = B::float_mul_scalar(density, (0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2).into());
        let slope = B::float_add(below, B::float_mul(x, density));
        B::float_mul(gradient, slope)
    }

    pub(in super::super) fn softmax_gradient<B: Kernels>(
        y: FloatTensor<B>,
        gradient: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let last = y.shape().num_dims() - 1;
        let product = B::float_mul(y.clone(), gradient);
        let sum = B::float_sum_dim(product.clone(), last);
        B::float_sub(product, B::float_mul(y, sum))
    }

    pub(in super::super) fn column_sums<B: Kernels>(x: FloatTensor<B>) -> FloatTensor<B> {
        let width = x.shape()[1];
        B::float_reshape(B::float_sum_dim(x, 0), [width].into())
    }

    pub(in super::super) fn layer_norm_gradients<B: Kernels>(
        x: FloatTensor<B>,
        gamma: FloatTensor<B>,
        gradient: FloatTensor<B>,
        epsilon: f64,
    ) -> LayerNormGradients<B> {
        let shape = x.shape();
        let width = shape[shape.num_dims() - 1];
        let (x, gradient) = (rows::<B>(x), rows::<B>(gradient));
        let (normal, inverse) = B::normalize(x, epsilon);
        let product = B::float_mul(gradient.clone(), normal.clone());
        let of_gamma = B::column_sums(product.clone());
        let of_beta = B::column_sums(gradient.clone());
        // Means over a row, weighted by gamma, are products with a vector.
        let weights = B::float_mul_scalar(
            B::float_reshape(gamma.clone(), [width, 1].into()),
            (1.0 / width as f64).into(),
        );
        let mean = B::float_matmul(gradient.clone(), weights.clone());
        let slope = B::float_matmul(product, weights);
        let scaled = B::float_mul(gradient, B::float_reshape(gamma, [1, width].into()));
        let centred = B::float_sub(scaled, mean);
        let centred = B::float_sub(centred, B::float_mul(normal, slope));
        let of_x = B::float_reshape(B::float_mul(centred, inverse), shape);
        LayerNormGradients {
            x: of_x,
            gamma: of_gamma,
            beta: of_beta,
        }
    }

    pub(in super::super) fn dropout_mask<B: Kernels>(
        like: FloatTensor<B>,
        probability: f64,
    ) -> FloatTensor<B> {
        let kept = 1.0 - probability;
        let (shape, device, dtype) = (like.shape(), like.device(), like.dtype());
        let drawn = B::float_random(shape, Distribution::Bernoulli(kept), &device, dtype.into());
        B::float_mul_scalar(drawn, (1.0 / kept).into())
    }
}

#[cfg(feature = "ndarray")]
impl Kernels for burn::backend::NdArray {}
#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl Kernels for burn::backend::Cube {}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::{
        backend::{Flex, ops::FloatTensorOps},
        tensor::{DType, TensorData, read_sync},
    };

    use super::*;

    /// The composition that backends without a kernel of their own use, on a backend that has one.
    #[test]
    fn the_composed_slope_of_gelu_is_that_of_the_kernel() {
        let device = Default::default();
        let x: Vec<f32> = (-60..=60).map(|step| step as f32 / 8.0).collect();
        let tensor = |values: &[f32]| Flex::float_from_data(TensorData::from(values), &device);
        let ones = vec![1.0f32; x.len()];
        let composed = composed::gelu_gradient::<Flex>(tensor(&x), tensor(&ones));
        let kernel = Flex::gelu_gradient(tensor(&x), tensor(&ones));
        assert_eq!(composed.dtype(), DType::F32);
        let values = |tensor| read_sync(Flex::float_into_data(tensor)).unwrap();
        let (composed, kernel) = (values(composed), values(kernel));
        for ((x, composed), kernel) in x
            .iter()
            .zip(composed.iter::<f32>())
            .zip(kernel.iter::<f32>())
        {
            assert!(
                (composed - kernel).abs() < 1e-6,
                "{x}: {composed}, {kernel}"
            );
        }
    }
}

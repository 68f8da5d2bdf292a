//! Between backward and the optimiser: exchange among processes, and the global norm.

use std::convert::Infallible;
use std::error::Error;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{FloatDType, Tensor};

/// Averages the gradients over the processes that train one model together.
///
/// It is called once a step, with the averages over this process's micro-batches; what it returns is
/// clipped and applied. Every process must return the same gradients, or their models part ways.
pub trait GradientExchange {
    /// Why an exchange failed.
    type Error: Error + Send + Sync + 'static;

    /// Replaces this process's gradients by the average over all processes.
    fn exchange<M: Module>(
        &mut self,
        model: &M,
        gradients: GradientsParams,
    ) -> Result<GradientsParams, Self::Error>;
}

/// The exchange of a single process: nothing to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleProcess;

impl GradientExchange for SingleProcess {
    type Error = Infallible;

    fn exchange<M: Module>(
        &mut self,
        _model: &M,
        gradients: GradientsParams,
    ) -> Result<GradientsParams, Infallible> {
        Ok(gradients)
    }
}

/// L2 norm of all gradients of `model` taken as one vector, shape `[1]`; `None` without gradients.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    let mut squares = Squares {
        gradients,
        sums: Vec::new(),
    };
    model.visit(&mut squares);
    (!squares.sums.is_empty()).then(|| Tensor::cat(squares.sums, 0).sum().sqrt())
}

/// Scales the gradients by `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
///
/// Burn's own clipping is per tensor, which changes the direction of the update.
pub fn clip_by_norm<M: Module>(
    model: &M,
    mut gradients: GradientsParams,
    norm: Tensor<1>,
    max_norm: f64,
) -> GradientsParams {
    let scale = norm
        .add_scalar(1e-6)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0);
    model.visit(&mut Scale {
        gradients: &mut gradients,
        scale,
    });
    gradients
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums
                .push(gradient.cast(FloatDType::F32).square().sum());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    scale: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let scale = self.scale.clone().cast(gradient.dtype()).reshape([1; D]);
            self.gradients.register(param.id, gradient * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use seed_device::test_device;

    /// `loss = sum(3 w) + sum(4 b)` has the gradients 3 and 4 everywhere.
    fn linear_with_gradients(width: usize) -> (Linear, GradientsParams) {
        let device = test_device().autodiff();
        let model = LinearConfig::new(1, width).init(&device);
        let bias = model.bias.as_ref().unwrap().val();
        let loss = model.weight.val().sum().mul_scalar(3.0) + bias.sum().mul_scalar(4.0);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        (model, gradients)
    }

    fn values(model: &Linear, gradients: &GradientsParams) -> (Vec<f32>, Vec<f32>) {
        let bias = model.bias.as_ref().unwrap().id;
        let read = |data: burn::tensor::TensorData| data.iter::<f32>().collect();
        (
            read(gradients.get::<2>(model.weight.id).unwrap().into_data()),
            read(gradients.get::<1>(bias).unwrap().into_data()),
        )
    }

    #[test]
    fn clips_all_gradients_by_one_norm() {
        // 4 · 3² + 4 · 4² = 100.
        let (model, gradients) = linear_with_gradients(4);
        let norm = global_norm(&model, &gradients).unwrap();
        assert!((norm.clone().into_scalar::<f32>() - 10.0).abs() < 1e-5);
        let clipped = clip_by_norm(&model, gradients, norm, 2.0);
        let (weight, bias) = values(&model, &clipped);
        assert!(weight.iter().all(|g| (g - 0.6).abs() < 1e-6), "{weight:?}");
        assert!(bias.iter().all(|g| (g - 0.8).abs() < 1e-6), "{bias:?}");
    }

    #[test]
    fn leaves_small_gradients_alone() {
        let (model, gradients) = linear_with_gradients(4);
        let norm = global_norm(&model, &gradients).unwrap();
        let clipped = clip_by_norm(&model, gradients, norm, 11.0);
        assert_eq!(values(&model, &clipped), (vec![3.0; 4], vec![4.0; 4]));
    }

    #[test]
    fn no_gradients_have_no_norm() {
        let (model, _) = linear_with_gradients(2);
        assert!(global_norm(&model, &GradientsParams::new()).is_none());
    }
}

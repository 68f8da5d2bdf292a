//! A moving average of the weights, which is what a generative model is used with.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// A model while it is trained, and the moving average of its weights.
///
/// Both are parameters of one module, so that a checkpoint holds both; the average's require no gradient.
#[derive(Module, Debug)]
pub struct Averaged<M> {
    /// What the gradients move.
    pub model: M,
    /// The average, which starts where the model starts.
    pub average: M,
}

impl<M: Module> Averaged<M> {
    /// A model with its average, before the first step.
    pub fn new(model: M) -> Self {
        let average = model.clone().map(&mut Apart);
        Self { model, average }
    }

    /// Moves the average towards the model by `1 − decay` of the way. After few steps it is more: the decay is at most
    /// `(1 + step) / (10 + step)`, so that the random weights of the start are soon forgotten.
    ///
    /// `step` is the number of steps done.
    pub fn moved(self, decay: f64, step: u64) -> Self {
        let decay = decay.min((1.0 + step as f64) / (10.0 + step as f64));
        let mut weights = Weights(VecDeque::new());
        self.model.visit(&mut weights);
        let mut towards = Towards { weights, decay };
        Self {
            average: self.average.map(&mut towards),
            model: self.model,
        }
    }
}

/// Parameters with ids of their own, since gradients are found by id, and without gradient.
struct Apart;

impl ModuleMapper for Apart {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, value, mapper) = param.consume();
        let value = untracked(&value, value.clone().inner());
        Param::from_mapped_value(ParamId::new(), value, mapper).set_require_grad(false)
    }
}

/// A value that no graph knows, for a parameter on the device of `like`. Burn's `detach` is not enough: of a parameter it gives
/// another one that requires a gradient, and a chain of averages that is never freed.
fn untracked<const D: usize>(like: &Tensor<D>, value: Tensor<D>) -> Tensor<D> {
    if like.is_autodiff() {
        Tensor::from_inner(value)
    } else {
        value
    }
}

/// A model's float parameters in module order, each flat.
struct Weights(VecDeque<Tensor<1>>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let count = value.shape().num_elements();
        self.0.push_back(value.reshape([count]));
    }
}

struct Towards {
    weights: Weights,
    decay: f64,
}

impl ModuleMapper for Towards {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Both are the same module, so that there is one for each.
        let Some(weights) = self.weights.0.pop_front() else {
            return param;
        };
        let param = param.map(|average| {
            let weights = weights.reshape(average.shape());
            let moved = average.clone().inner().mul_scalar(self.decay)
                + weights.mul_scalar(1.0 - self.decay);
            untracked(&average, moved)
        });
        param.set_require_grad(false)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::GradientsParams;
    use seed_device::test_device;

    use super::*;

    fn values(linear: &Linear) -> Vec<f32> {
        let bias = linear.bias.as_ref().unwrap().val().into_data();
        linear
            .weight
            .val()
            .into_data()
            .iter::<f32>()
            .chain(bias.iter::<f32>())
            .collect()
    }

    fn filled(model: Averaged<Linear>, value: f64) -> Averaged<Linear> {
        struct Fill(f64);
        impl ModuleMapper for Fill {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|value| value.zeros_like().add_scalar(self.0))
            }
        }
        Averaged {
            model: model.model.map(&mut Fill(value)),
            average: model.average,
        }
    }

    #[test]
    fn the_average_follows_the_model() {
        let device = test_device().autodiff();
        let model = Averaged::new(LinearConfig::new(2, 3).init(&device));
        assert_eq!(values(&model.model), values(&model.average));
        let mut model = filled(model, 0.0);
        model.average = model.model.clone();
        // After many steps by the decay alone.
        let model = filled(model, 1.0).moved(0.75, 1_000);
        assert!(
            values(&model.average)
                .iter()
                .all(|x| (x - 0.25).abs() < 1e-6)
        );
        let model = model.moved(0.75, 1_001);
        assert!(
            values(&model.average)
                .iter()
                .all(|x| (x - 0.4375).abs() < 1e-6)
        );
        assert!(values(&model.model).iter().all(|x| (x - 1.0).abs() < 1e-6));
        // After the first one by more: the decay is 2/11.
        let mut early = filled(model, 0.0);
        early.average = early.model.clone();
        let early = filled(early, 1.0).moved(0.75, 1);
        let expected = 1.0 - 2.0 / 11.0;
        assert!(
            values(&early.average)
                .iter()
                .all(|x| (x - expected).abs() < 1e-6)
        );
    }

    #[test]
    fn gradients_reach_the_model_alone() {
        let device = test_device().autodiff();
        let model = Averaged::new(LinearConfig::new(2, 3).init(&device)).moved(0.9, 1);
        let x = Tensor::<2>::ones([1, 2], &device);
        let loss = (model.model.forward(x.clone()) + model.average.forward(x)).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        assert!(gradients.get::<2>(model.model.weight.id).is_some());
        assert!(gradients.get::<2>(model.average.weight.id).is_none());
        assert_ne!(model.model.weight.id, model.average.weight.id);
    }
}

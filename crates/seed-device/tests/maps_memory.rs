//! What steps of the fused operations on maps leave in memory, on `SEED_TEST_DEVICE`: alone in its process.
#![cfg(target_os = "linux")]

use burn::tensor::{Distribution, Tensor, ops::ConvOptions};
use seed_device::{fused, test_device};

/// Memory of this process that is in use.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = text.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
    pages * 4096
}

/// Neither a step nor a pass whose gradients nobody asks for.
#[test]
fn steps_leave_nothing_behind() {
    let device = test_device().autodiff();
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<4>::random([2, 3, 64, 64], normal, &device).require_grad();
    let weight = Tensor::<4>::random([32, 3, 3, 3], normal, &device).require_grad();
    let step = |backward: bool| {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let mut y = fused::conv2d(x.clone(), weight.clone(), None, options);
        for _ in 0..2 {
            let ones = || Tensor::<1>::ones([32], &device);
            y = fused::group_norm_silu(y, ones(), ones(), 8, 1e-6);
        }
        if backward {
            let gradients = y.sum().backward();
            assert!(weight.grad(&gradients).is_some());
        }
    };
    let steps = |count: usize| {
        for _ in 0..count {
            step(true);
            step(false);
        }
        resident()
    };
    // A step's maps are 1 MB each: one that stayed would be 30 MB.
    let before = steps(10);
    let grown = steps(30).saturating_sub(before);
    assert!(grown < 15 << 20, "{grown} bytes more");
}

//! one-off
use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::DType,
};
use seed_weights::*;
#[derive(Module, Debug)]
struct Model {
    layers: Vec<Linear>,
}
fn hwm() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"))
        .collect::<Vec<_>>()
        .join(" ")
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[2].parse().unwrap();
    let device = seed_device::test_device();
    let cp = Checkpoint::open(&args[1]).unwrap();
    println!("open {} {}", cp.format(), hwm());
    let model = Model {
        layers: (0..n)
            .map(|_| LinearConfig::new(4096, 4096).with_bias(false).init(&device))
            .collect(),
    };
    let t = std::time::Instant::now();
    let dtype = if args[3] == "f16" {
        DType::F16
    } else {
        DType::F32
    };
    let (model, report) = load_as(model, &cp, &KeyMap::identity(), dtype).unwrap();
    println!("{report}\nload {:?} {}", t.elapsed(), hwm());
    let t = std::time::Instant::now();
    save(
        &model,
        "/tmp/peak-out",
        &KeyMap::identity(),
        DType::F16,
        String::new(),
    )
    .unwrap();
    println!("save {:?} {}", t.elapsed(), hwm());
    drop(model);
    let t = std::time::Instant::now();
    println!(
        "{}",
        convert(&cp, "/tmp/peak-out", Some(DType::F32), String::new()).unwrap()
    );
    println!("convert {:?} {}", t.elapsed(), hwm());
}

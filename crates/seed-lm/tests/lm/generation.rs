//! Generation: what is drawn, in which company, and in which form.

use burn::tensor::Tensor;
use proptest::prelude::*;
use seed_device::test_device;
use seed_lm::{
    CausalLm, SeedLm, VisualHead, VisualIds,
    generation::{Decoding, GenerationConfig, Prompt, generate, generate_with},
};

use crate::models::{CODES, PER_IMAGE, WORDS, configs, seed_lm};

const IDS: VisualIds = VisualIds {
    words: WORDS,
    codes: CODES,
    per_image: PER_IMAGE,
};

fn model(seed: u64) -> SeedLm {
    seed_lm(&configs()[0], VisualHead::Tied, seed, &test_device())
}

fn sampled(seed: u64) -> GenerationConfig {
    GenerationConfig {
        decoding: Decoding::Sample {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            seed,
        },
        ..GenerationConfig::greedy(12, None)
    }
}

fn run(model: &impl CausalLm, prompts: &[&[u32]], config: &GenerationConfig) -> Vec<Vec<u32>> {
    let prompts = prompts.iter().map(|ids| ids.to_vec()).collect();
    generate(model, Prompt::Ids(prompts), config)
        .unwrap()
        .best()
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let model = model(31);
    let prompts: [&[u32]; 2] = [&[2, 5], &[2, 9, 4]];
    let first = run(&model, &prompts, &sampled(1));
    assert_eq!(run(&model, &prompts, &sampled(1)), first);
    assert_ne!(run(&model, &prompts, &sampled(2)), first);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let model = model(32);
    let greedy = GenerationConfig::greedy(8, Some(2));
    let beams = GenerationConfig {
        decoding: Decoding::captioning(),
        ..greedy.clone()
    };
    let all: [&[u32]; 3] = [&[2, 5, 9], &[2], &[2, 7, 7, 7, 11]];
    for config in [&greedy, &beams, &sampled(7)] {
        let together = run(&model, &all, config);
        assert_eq!(run(&model, &all[..1], config)[0], together[0]);
        assert_eq!(run(&model, &[all[0], all[2]], config)[0], together[0]);
        if matches!(config.decoding, Decoding::Sample { .. }) {
            continue;
        }
        for (row, prompt) in all.iter().enumerate() {
            assert_eq!(run(&model, &[prompt], config)[0], together[row]);
        }
    }
}

#[test]
fn embeddings_and_ids_are_the_same_prompt() {
    let model = model(33);
    let prompt: &[u32] = &[2, 37, 31, 33, 30, 38, 6];
    let tokens = Tensor::from_data([[2, 37, 31, 33, 30, 38, 6]], &CausalLm::device(&model));
    let config = GenerationConfig::greedy(8, None);
    let expected = run(&model, &[prompt], &config);
    let found = generate(&model, Prompt::Embeddings(model.embed(tokens)), &config).unwrap();
    assert_eq!(found.best(), expected);
}

#[test]
fn one_beam_is_greedy() {
    for seed in 34..38 {
        let model = model(seed);
        let prompts: [&[u32]; 3] = [&[2, 5], &[2, 9, 4, 4], &[2]];
        let plain = GenerationConfig::greedy(10, None);
        // What ends a text is a token that greedy decoding does choose.
        let end = Some(run(&model, &prompts[..1], &plain)[0][3]);
        for (end, new) in [(None, 10), (end, 10), (end, 2)] {
            let greedy = GenerationConfig::greedy(new, end);
            let beam = GenerationConfig {
                decoding: Decoding::Beam {
                    beams: 1,
                    length_penalty: 0.0,
                    early_stopping: false,
                },
                ..greedy.clone()
            };
            let prompts = prompts.iter().map(|ids| ids.to_vec()).collect();
            let prompts = Prompt::Ids(prompts);
            let greedy = generate(&model, prompts.clone(), &greedy).unwrap();
            let beam = generate(&model, prompts, &beam).unwrap();
            for (greedy, beam) in greedy.rows.iter().flatten().zip(beam.rows.iter().flatten()) {
                assert_eq!(greedy.ids, beam.ids);
                assert!((greedy.score - beam.score).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn one_may_listen_and_stop() {
    let model = model(39);
    let config = GenerationConfig::greedy(9, None);
    let expected = run(&model, &[&[2, 5]], &config);
    let mut heard = Vec::new();
    let found = generate_with(&model, Prompt::Ids(vec![vec![2, 5]]), &config, |row, id| {
        assert_eq!(row, 0);
        heard.push(id);
        heard.len() < 4
    });
    assert_eq!(heard, expected[0][..4]);
    assert_eq!(found.unwrap().best()[0], heard);
}

#[test]
fn the_end_waits_for_the_least_length() {
    let model = model(40);
    let prompts: [&[u32]; 1] = [&[2, 5]];
    let free = run(&model, &prompts, &GenerationConfig::greedy(10, None));
    let ended = GenerationConfig::greedy(10, Some(free[0][0]));
    assert_eq!(run(&model, &prompts, &ended), [[free[0][0]]]);
    let later = GenerationConfig {
        min_new_tokens: 4,
        ..ended
    };
    assert!(run(&model, &prompts, &later)[0].len() > 4);
}

#[test]
fn no_prompt_has_no_answer() {
    let config = GenerationConfig::greedy(3, None);
    let found = generate(&model(41), Prompt::Ids(Vec::new()), &config).unwrap();
    assert!(found.rows.is_empty());
}

/// Where an image's form is broken, read with a machine of its own. An image at the end may be unfinished.
fn broken(ids: &[u32]) -> Option<usize> {
    let mut inside: Option<usize> = None;
    for (index, id) in ids.iter().enumerate() {
        let id = *id as usize;
        let (code, open, close) = (
            (WORDS..WORDS + CODES).contains(&id),
            id == WORDS + CODES,
            id == WORDS + CODES + 1,
        );
        inside = match inside {
            Some(PER_IMAGE) if close => None,
            Some(codes) if codes < PER_IMAGE && code => Some(codes + 1),
            None if open => Some(0),
            None if !code && !close => None,
            _ => return Some(index),
        };
    }
    None
}

fn decodings() -> impl Strategy<Value = Decoding> {
    let sample = (0.05f64..4.0, 0usize..12, 0.01f64..=1.0, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, seed)| Decoding::Sample {
            temperature,
            top_k,
            top_p,
            seed,
        },
    );
    let beam = (1usize..6, -2.0f64..2.0, any::<bool>()).prop_map(
        |(beams, length_penalty, early_stopping)| Decoding::Beam {
            beams,
            length_penalty,
            early_stopping,
        },
    );
    prop_oneof![Just(Decoding::Greedy), sample, beam]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_image_is_well_formed(
        weights in 0u64..1000,
        decoding in decodings(),
        penalty in 0.5f64..2.0,
        least in 0usize..8,
        // The closing mark too: who asks for one image ends with it.
        end in prop_oneof![Just(None), Just(Some(2)), Just(Some(IDS.close()))],
        prompts in prop::sample::select(vec![
            vec![vec![2, 5], vec![IDS.open()]],
            vec![vec![2, IDS.open(), 31, 36], vec![IDS.open(), 30, 30, 30]],
            vec![vec![IDS.open(), 30, 31, 32, IDS.close(), 4]],
        ]),
    ) {
        let model = model(weights);
        let config = GenerationConfig {
            max_new_tokens: 14,
            min_new_tokens: least,
            end,
            repetition_penalty: penalty,
            decoding,
            grammar: Some(IDS.into()),
        };
        let found = generate(&model, Prompt::Ids(prompts.clone()), &config).unwrap();
        for (prompt, hypotheses) in prompts.iter().zip(found.rows) {
            // Beams of no hypothesis have no probability.
            let real = hypotheses.into_iter().filter(|h| h.score > f64::NEG_INFINITY);
            let mut any = false;
            for hypothesis in real {
                any = true;
                let all = [prompt.as_slice(), &hypothesis.ids].concat();
                prop_assert_eq!(broken(&all), None, "{:?}", all);
                prop_assert!(hypothesis.score.is_finite());
            }
            prop_assert!(any);
        }
    }
}

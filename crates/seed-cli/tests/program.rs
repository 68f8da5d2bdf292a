//! The program as a user meets it: what it prints, what it leaves behind, how it ends.

mod running;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use running::{ok, pictures, seed, stderr, text};
use serde_json::Value;

/// The codes of every line of the text format.
fn codes(output: &str) -> Vec<Vec<u32>> {
    let line = |line: &str| {
        let (_, codes) = line.split_once('\t').expect("a name, a tab, codes");
        codes.split(' ').map(|code| code.parse().unwrap()).collect()
    };
    output.lines().map(line).collect()
}

#[test]
fn a_folder_becomes_codes_in_order_and_the_batch_does_not_matter() {
    let folder = pictures();
    let all = ok(&["tokenize", text(folder.path())]);
    let names: Vec<&str> = all
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    let expected = ["a.png", "b.png", "c.png"].map(|name| folder.path().join(name));
    assert_eq!(
        names,
        expected.iter().map(|path| text(path)).collect::<Vec<_>>()
    );
    let all = codes(&all);
    assert!(all.iter().all(|codes| codes.len() == 32));
    assert!(all.iter().flatten().all(|&code| code < 1024));
    assert_ne!(all[0], all[1]);
    let single = ok(&["tokenize", text(folder.path()), "--batch-size", "1"]);
    assert_eq!(codes(&single), all);
}

#[test]
fn the_formats_say_the_same() {
    let folder = pictures();
    let input = text(folder.path()).to_owned();
    let plain = codes(&ok(&["tokenize", &input]));
    let from =
        |value: &Value| -> Vec<u32> { serde_json::from_value(value["codes"].clone()).unwrap() };
    let lines = ok(&["tokenize", &input, "--format", "jsonl"]);
    let lines: Vec<Vec<u32>> = lines
        .lines()
        .map(|l| from(&serde_json::from_str(l).unwrap()))
        .collect();
    assert_eq!(lines, plain);
    let array: Vec<Value> =
        serde_json::from_str(&ok(&["tokenize", &input, "--format", "json"])).unwrap();
    assert_eq!(array.iter().map(from).collect::<Vec<_>>(), plain);

    let file = folder.path().join("codes.safetensors");
    ok(&[
        "tokenize",
        &input,
        "--format",
        "safetensors",
        "--output",
        text(&file),
    ]);
    let bytes = fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let found = tensors.tensor("codes").unwrap();
    assert_eq!(found.shape(), [3, 32]);
    let found: Vec<u32> = found
        .data()
        .chunks(8)
        .map(|c| i64::from_le_bytes(c.try_into().unwrap()) as u32)
        .collect();
    assert_eq!(found, plain.concat());
}

#[test]
fn a_bad_picture_is_named_and_left_out() {
    let folder = pictures();
    fs::write(folder.path().join("b.png"), b"not a picture").unwrap();
    let output = seed(&["tokenize", text(folder.path())]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("b.png"), "{}", stderr(&output));
    assert_eq!(codes(&String::from_utf8(output.stdout).unwrap()).len(), 2);

    let strict = seed(&["tokenize", text(folder.path()), "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        stderr(&strict).starts_with("error: "),
        "{}",
        stderr(&strict)
    );
    assert_eq!(
        seed(&["tokenize", "no-such-file.png"]).status.code(),
        Some(3)
    );
}

#[test]
fn stdin_is_a_picture_or_a_list_of_paths() {
    let folder = pictures();
    let picture = folder.path().join("a.png");
    let expected = codes(&ok(&["tokenize", text(&picture)]));
    let pipe = |input: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seed"))
            .args(["tokenize", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        codes(&String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(pipe(&fs::read(&picture).unwrap()), expected);
    assert_eq!(
        pipe(format!("{}\n", picture.display()).as_bytes()),
        expected
    );
}

#[test]
fn a_picture_becomes_words_and_words_become_codes() {
    let folder = pictures();
    let picture = folder.path().join("a.png");
    let caption = ok(&["caption", text(&picture)]);
    assert!(!caption.trim().is_empty());
    assert_eq!(caption, ok(&["caption", text(&picture)]));
    let line: Value = serde_json::from_str(&ok(&[
        "caption",
        text(&picture),
        "--format",
        "json",
        "--beams",
        "3",
    ]))
    .unwrap();
    assert_eq!(line["codes"].as_array().unwrap().len(), 32);
    assert!(line["caption"].is_string());

    let question = ["ask", text(&picture), "What kind of thing is this?"];
    assert!(!ok(&question).trim().is_empty());

    let draw = [
        "draw",
        "a red apple",
        "--codes",
        "--temperature",
        "1",
        "--seed",
        "3",
    ];
    let drawn = ok(&draw);
    let codes: Vec<u32> = drawn
        .split_whitespace()
        .map(|code| code.parse().unwrap())
        .collect();
    assert_eq!(codes.len(), 32, "the grammar asks for exactly 32");
    assert!(codes.iter().all(|code| *code < 1024));
    assert_eq!(drawn, ok(&draw), "the same seed draws the same");

    for (arguments, told) in [
        (vec!["draw", "a red apple"], "--sd"),
        (vec!["draw", " ", "--codes"], "empty"),
        (vec!["ask", text(&picture), ""], "empty"),
        (vec!["draw", "apple", "--codes", "--top-p", "0"], "top_p"),
        (
            vec!["caption", text(&picture), "--lm", "no-such-run"],
            "no-such-run",
        ),
        (
            vec!["caption", text(&picture), "--max-new-tokens", "500"],
            "positions",
        ),
    ] {
        let output = seed(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    let output = seed(&["caption", "no-such-picture.png"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("no-such-picture.png"));
}

#[test]
fn the_command_line_is_checked() {
    for arguments in [
        &["tokenize"][..],
        &["tokenize", "a.png", "--device", "gpu"],
        &["tokenize", "a.png", "--dtype", "f8"],
        &["tokenize", "a.png", "--batch-size", "0"],
        &["tokenize", "a.png", "--format", "safetensors"],
        &["paint", "a.png"],
    ] {
        let output = seed(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains("For more information"),
            "{}",
            stderr(&output)
        );
    }
    let output = seed(&["cost", "--preset", "huge"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("seed-v1, seed-v2 or nano"));
}

#[test]
fn help_has_examples_and_exit_codes() {
    assert!(ok(&["--help"]).contains("Exit status"));
    for command in [
        "tokenize",
        "inspect",
        "convert",
        "parity",
        "cost",
        "devices",
        "completions",
        "man",
    ] {
        assert!(ok(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    for command in [["train", "tokenizer"], ["eval", "retrieval"]] {
        assert!(ok(&[command[0], command[1], "--help"]).contains("Examples:"));
    }
    assert!(ok(&["completions", "bash"]).contains("tokenize"));
    assert!(ok(&["man"]).contains(".TH seed 1"));
    let folder = tempfile::tempdir().unwrap();
    ok(&["man", "--output", text(folder.path())]);
    assert!(folder.path().join("seed-tokenize.1").is_file());
}

#[test]
fn devices_say_how_to_get_the_others() {
    let listed = ok(&["devices"]);
    assert!(
        listed.contains("flex") && listed.contains("ready (default)"),
        "{listed}"
    );
    assert!(listed.contains("--features"), "{listed}");
}

#[test]
fn devices_say_what_they_can_do() {
    let listed = ok(&["devices", "--verbose"]);
    let flex = listed
        .lines()
        .find(|line| line.trim_start().starts_with("flex"));
    let flex = flex.expect("a line of flex");
    for ability in ["f32, f16, bf16", "yes", "CPU", "ready (default)"] {
        assert!(flex.contains(ability), "{ability}: {flex}");
    }
}

#[test]
fn cost_knows_the_papers_sizes() {
    let shown = ok(&["cost", "--preset", "seed-v1"]);
    assert!(shown.contains("985,894,528"), "{shown}");
    assert!(shown.contains("stage II step"), "{shown}");
}

/// The end-to-end case of the kit holds a release's three files.
fn release() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/06_end_to_end_v1")
}

#[test]
fn inspect_says_what_a_file_is() {
    let release = release();
    let shown = |file: &str| ok(&["inspect", text(&release.join(file))]);
    let stage_two = shown("seed_tokenizer.pth");
    assert!(stage_two.contains("SEED v1, stage II"), "{stage_two}");
    assert!(stage_two.contains("below `model`"), "{stage_two}");
    assert!(shown("eva_vit_g.pth").contains("EVA image tower"));
    assert!(shown("causal_qformer.pth").contains("stage I"));
    let nano_lm = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seed-lm/weights/nano-lm");
    let shown = |file: &str| ok(&["inspect", text(&nano_lm.join(file))]);
    assert!(shown("vocabulary.safetensors").contains("visual vocabulary"));
    assert!(shown("adapter/adapter_model.safetensors").contains("LoRA adapter"));
    let missing = seed(&["inspect", "no-such-file.pth"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("no-such-file.pth"));
    let other = seed(&["inspect", text(&release.join("image_0.png"))]);
    assert!(stderr(&other).contains("a picture"), "{}", stderr(&other));
}

#[test]
fn a_release_of_another_size_needs_its_config_and_then_gives_the_references_codes() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["eva_vit_g.pth", "causal_qformer.pth", "seed_tokenizer.pth"] {
        fs::copy(release().join(file), folder.path().join(file)).unwrap();
    }
    let pictures: Vec<PathBuf> = (0..3)
        .map(|index| release().join(format!("image_{index}.png")))
        .collect();
    let pictures: Vec<&str> = pictures.iter().map(|path| text(path)).collect();
    let tokenize = |checkpoint: &Path| {
        let mut arguments = vec!["tokenize", "--checkpoint", checkpoint.to_str().unwrap()];
        arguments.extend(&pictures);
        seed(&arguments)
    };
    // The full-size preset asks for other shapes than these tiny files have.
    let refused = tokenize(folder.path());
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("config.json beside"),
        "{}",
        stderr(&refused)
    );

    fs::write(folder.path().join("config.json"), tiny_config().to_string()).unwrap();
    let found = tokenize(folder.path());
    assert!(found.status.success(), "{}", stderr(&found));
    let found = codes(&String::from_utf8(found.stdout).unwrap());
    assert_eq!(found, golden());

    // One file of ours gives the same, as does naming one of the release's files.
    let one = folder.path().join("whole.safetensors");
    ok(&["convert", text(folder.path()), text(&one), "--tokenizer"]);
    for checkpoint in [one, folder.path().join("causal_qformer.pth")] {
        let again = tokenize(&checkpoint);
        assert_eq!(
            codes(&String::from_utf8(again.stdout).unwrap()),
            found,
            "{checkpoint:?}"
        );
    }

    fs::remove_file(folder.path().join("eva_vit_g.pth")).unwrap();
    let incomplete = stderr(&tokenize(folder.path()));
    assert!(
        incomplete.contains("eva_vit_g.pth is missing"),
        "{incomplete}"
    );
}

/// The codes that the reference gave.
fn golden() -> Vec<Vec<u32>> {
    let bytes = fs::read(release().join("outputs.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = tensors.tensor("ids").unwrap();
    let ids: Vec<u32> = ids
        .data()
        .chunks(8)
        .map(|c| i64::from_le_bytes(c.try_into().unwrap()) as u32)
        .collect();
    ids.chunks(32).map(<[u32]>::to_vec).collect()
}

/// The sizes of the case in our words.
fn tiny_config() -> Value {
    let case: Value =
        serde_json::from_slice(&fs::read(release().join("config.json")).unwrap()).unwrap();
    let width = case["hidden_size"].as_u64().unwrap();
    let mut config = serde_json::to_value(seed_tokenizer::SeedConfig::seed_v1()).unwrap();
    let mut set = |path: &str, value: Value| {
        *config
            .pointer_mut(path)
            .unwrap_or_else(|| panic!("no {path}")) = value;
    };
    let vit_width = case["vit_width"].as_u64().unwrap();
    set("/image/image_size", case["img_size"].clone());
    set("/image/patch_size", case["patch_size"].clone());
    set("/image/width", case["vit_width"].clone());
    set("/image/depth", case["vit_depth"].clone());
    set("/image/heads", case["vit_heads"].clone());
    let hidden = (vit_width as f64 * case["mlp_ratio_vit"].as_f64().unwrap()) as u64;
    set("/image/mlp_hidden", hidden.into());
    for (ours, theirs) in [
        ("width", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("depth", "num_hidden_layers"),
        ("mlp_hidden", "intermediate_size"),
        ("context_width", "encoder_width"),
    ] {
        set(
            &format!("/tokens/q_former/q_former/{ours}"),
            case[theirs].clone(),
        );
    }
    set(
        "/tokens/q_former/q_former/text/vocab_size",
        case["vocab_size"].clone(),
    );
    set(
        "/tokens/q_former/q_former/text/max_length",
        case["max_position_embeddings"].clone(),
    );
    set("/tokens/q_former/embed_dim", case["embed_dim"].clone());
    set("/codes/width", width.into());
    set("/codes/quantizer/codes", case["n_embed"].clone());
    set("/codes/quantizer/dim", case["codebook_embed_dim"].clone());
    set("/codes/blocks/depth", case["decoder_depth"].clone());
    set("/codes/blocks/heads", case["decoder_heads"].clone());
    set("/codes/blocks/mlp_hidden", (4 * width).into());
    set(
        "/codes/text_head/reverse/queries",
        case["num_reverse_tokens"].clone(),
    );
    set(
        "/codes/text_head/reverse/depth",
        case["reverse_layers"].clone(),
    );
    set(
        "/codes/text_head/reverse/heads",
        case["num_attention_heads"].clone(),
    );
    set(
        "/codes/text_head/reverse/mlp_hidden",
        case["intermediate_size"].clone(),
    );
    set(
        "/codes/text_head/target_width",
        case["text_features_dim"].clone(),
    );
    config
}

#[test]
fn parity_passes_on_the_kit_and_fails_on_a_tampered_one() {
    let shown = ok(&["parity", text(&release())]);
    assert!(shown.contains("06_end_to_end_v1"), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("03_quantizer");
    fs::create_dir(&case).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/03_quantizer");
    for entry in fs::read_dir(fixture).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), case.join(entry.file_name())).unwrap();
    }
    let tampered = case.join("legacy.safetensors");
    let mut bytes = fs::read(&tampered).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x40;
    fs::write(&tampered, bytes).unwrap();
    assert_eq!(
        seed(&["parity", text(folder.path())]).status.code(),
        Some(3)
    );
    assert_eq!(seed(&["parity", "no-such-kit"]).status.code(), Some(1));
}

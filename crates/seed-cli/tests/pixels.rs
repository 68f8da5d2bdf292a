//! Pictures of codes as a user meets them. The diffusion model has random weights.

mod running;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use burn::tensor::DType;
use image::RgbImage;
use running::{ok, pictures, seed, stderr, text};
use seed_device::test_device;
use seed_diffusion::{
    AutoencoderKlConfig, ClassEmbedding, ImageNormalizer, UnetConfig, UnetLevel, nano,
    save_autoencoder, save_image_normalizer, save_scheduler, save_unet,
};
use seed_tokenizer::{ImageHeadConfig, ImageHeadForm, SeedConfig, tokenizer_keys};
use serde_json::Value;
use tempfile::TempDir;

fn unet(context_width: usize) -> UnetConfig {
    let level = |channels, attends| UnetLevel {
        channels,
        heads: 2,
        attends,
    };
    UnetConfig {
        sample_size: 8,
        levels: vec![level(16, false), level(32, true)],
        layers: 1,
        context_width,
        groups: 8,
        class_embedding: Some(ClassEmbedding::Projection { width: 256 }),
        ..UnetConfig::sd_1_4()
    }
}

/// A model as a training leaves it, of 16-pixel pictures.
fn diffusion(context_width: usize) -> TempDir {
    let device = test_device();
    device.seed(3);
    let folder = tempfile::tempdir().unwrap();
    let unet = unet(context_width).init(&device).unwrap();
    save_unet(&unet, folder.path()).unwrap();
    let autoencoder = AutoencoderKlConfig {
        sample_size: 16,
        channels: vec![16, 16],
        layers: 1,
        groups: 8,
        scaling_factor: 1.0,
        ..AutoencoderKlConfig::sd()
    };
    let autoencoder = autoencoder.init(&device).unwrap();
    save_autoencoder(&autoencoder, folder.path()).unwrap();
    let normalizer = ImageNormalizer::new(&[0.0; 128], &[1.0; 128], &device).unwrap();
    save_image_normalizer(&normalizer, folder.path()).unwrap();
    save_scheduler(&nano::scheduler(), true, folder.path()).unwrap();
    folder
}

/// A tokenizer with an image head, which leads to anything.
fn tokenizer_with_image_head(folder: &Path) -> PathBuf {
    let mut config = SeedConfig::nano();
    config.codes.text_head = None;
    config.codes.image_head = Some(ImageHeadConfig {
        target_width: 128,
        form: ImageHeadForm::Mlp {
            widths: [64, 32, 8],
        },
    });
    let device = test_device();
    device.seed(4);
    let tokenizer = config.init(&device).unwrap();
    let path = folder.join("tokenizer.safetensors");
    let about = serde_json::to_string(&config).unwrap();
    seed_weights::save(&tokenizer, &path, &tokenizer_keys(), DType::F32, about).unwrap();
    path
}

/// The arguments of a quick drawing with that model.
fn with<'a>(command: &[&'a str], model: &'a TempDir) -> Vec<&'a str> {
    let quick = ["--sd", text(model.path()), "--steps", "2"];
    [command, &quick].concat()
}

fn picture(path: &Path) -> RgbImage {
    let picture = image::open(path);
    picture
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into_rgb8()
}

/// The text chunks of a PNG.
fn texts(path: &Path) -> BTreeMap<String, String> {
    let file = BufReader::new(File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let chunks = reader.info().utf8_text.iter();
    chunks
        .map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()))
        .collect()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// Nothing but one line of reason, and nothing written.
#[track_caller]
fn refused(arguments: &[&str], status: i32, told: &str) {
    let output = seed(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    assert!(said.contains(told), "{arguments:?}: {said}");
    if status == 1 {
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("error: "), "{said}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn a_picture_comes_back_and_says_how() {
    let (model, folder) = (diffusion(128), pictures());
    let input = folder.path().join("a.png");
    let output = folder.path().join("back.png");
    let command = ["reconstruct", text(&input), "-o", text(&output)];
    let told = ok(&with(&command, &model));
    assert_eq!(told.trim(), text(&output));
    let first = picture(&output);
    assert_eq!(first.dimensions(), (16, 16));

    let codes = ok(&["tokenize", text(&input)]);
    let codes = codes.trim().split_once('\t').unwrap().1.to_owned();
    let said = texts(&output);
    for (keyword, expected) in [
        ("codes", codes.as_str()),
        ("seed", "42"),
        ("picture", "0"),
        ("steps", "2"),
        ("guidance", "3"),
        ("scheduler", "dpm++"),
        ("form", "text"),
        ("negative", ""),
        ("source", "a.png"),
        ("Software", concat!("seed ", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(said[keyword], expected, "{keyword}");
    }
    assert_eq!(said["diffusion_identity"].len(), 64);
    assert_eq!(said["tokenizer_identity"].len(), 64);
    assert!(!said.contains_key("prefix"), "all codes count");

    // What it says is enough to draw it again, and to draw another.
    let again = folder.path().join("again.png");
    let by_hand = ["decode", codes.as_str(), "-o", text(&again)];
    ok(&with(&by_hand, &model));
    assert_eq!(picture(&again), first);
    for other in [
        ["--seed", "7"],
        ["--number", "1"],
        ["--guidance", "1"],
        ["--scheduler", "ddim"],
        ["--negative", "blue"],
        ["--prefix", "3"],
    ] {
        ok(&with(&[&by_hand[..], &other].concat(), &model));
        assert_ne!(picture(&again), first, "{other:?}");
        let keyword = match other[0].trim_start_matches("--") {
            "number" => "picture",
            keyword => keyword,
        };
        assert_eq!(texts(&again)[keyword], other[1], "{other:?}");
    }
    assert_eq!(
        files(folder.path()),
        ["a.png", "again.png", "b.png", "back.png", "c.png"]
    );
}

#[test]
fn several_pictures_go_into_a_folder_with_a_sheet() {
    let (model, folder) = (diffusion(128), pictures());
    fs::write(folder.path().join("b.png"), b"no picture").unwrap();
    let out = tempfile::tempdir().unwrap();
    let all = out.path().join("all");
    let command = ["reconstruct", text(folder.path()), "-o", text(&all)];
    let output = seed(&with(&command, &model));
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("b.png"), "{}", stderr(&output));
    assert_eq!(files(&all), ["a.png", "c.png", "sheet.png"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = told.lines().collect();
    let expected = ["a.png", "c.png", "sheet.png"].map(|name| all.join(name));
    assert_eq!(
        told,
        expected.iter().map(|path| text(path)).collect::<Vec<_>>()
    );
    // Three places, of an original and a picture each; nothing on the second.
    let sheet = picture(&all.join("sheet.png"));
    assert!(sheet.width() >= 2 * 16 && sheet.height() >= 16);
    let drawn = picture(&all.join("c.png"));
    let has = |sheet: &RgbImage, drawn: &RgbImage| {
        let (width, height) = drawn.dimensions();
        let at = |x, y| {
            let part = image::imageops::crop_imm(sheet, x, y, width, height).to_image();
            part == *drawn
        };
        (0..=sheet.width() - width).any(|x| (0..=sheet.height() - height).any(|y| at(x, y)))
    };
    assert!(has(&sheet, &drawn));

    // Each picture is what it is alone, if it has that number.
    let alone = out.path().join("alone.png");
    let input = folder.path().join("c.png");
    let command = [
        "reconstruct",
        text(&input),
        "-o",
        text(&alone),
        "--number",
        "2",
    ];
    ok(&with(&command, &model));
    let apart = picture(&alone).into_raw();
    let apart = apart
        .iter()
        .zip(drawn.as_raw())
        .map(|(x, y)| x.abs_diff(*y));
    assert!(apart.max() <= Some(1));

    // A folder of one picture is a folder.
    let one = tempfile::tempdir().unwrap();
    fs::copy(&input, one.path().join("only.png")).unwrap();
    let again = out.path().join("one");
    let command = [
        "reconstruct",
        text(one.path()),
        "-o",
        text(&again),
        "--draw-batch",
        "1",
    ];
    ok(&with(&command, &model));
    assert_eq!(files(&again), ["only.png", "sheet.png"]);
}

#[test]
fn words_become_pictures() {
    let (model, folder) = (diffusion(128), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    let here = format!("{}/", text(folder.path()));
    let told = ok(&with(&["draw", "A red apple!", "-o", &here], &model));
    assert_eq!(told.trim(), text(&at("a-red-apple.png")));
    let said = texts(&at("a-red-apple.png"));
    assert_eq!(said["caption"], "a red apple!");
    let codes = ok(&["draw", "A red apple!", "--codes"]);
    assert_eq!(said["codes"], codes.trim());

    // The same codes, other noise; or, where tokens are drawn at random, other codes.
    let samples = [
        "draw",
        "red apple",
        "--samples",
        "2",
        "--format",
        "json",
        "-o",
    ];
    let lines = |more: &[&str]| -> Vec<Value> {
        let told = ok(&with(&[&samples[..], more].concat(), &model));
        let lines = told.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let all = at("samples");
    let same = lines(&[text(&all)]);
    assert_eq!(
        files(&all),
        ["red-apple-1.png", "red-apple-2.png", "sheet.png"]
    );
    assert_eq!(same.len(), 2);
    assert_eq!(same[0]["codes"], same[1]["codes"]);
    assert_eq!(same[0]["caption"], "red apple");
    let of = |line: &Value| picture(Path::new(line["picture"].as_str().unwrap()));
    assert_ne!(of(&same[0]), of(&same[1]));
    let random = lines(&[text(&all), "--temperature", "1", "--seed", "5"]);
    assert_ne!(random[0]["codes"], random[1]["codes"]);
    let expected = ok(&[
        "draw",
        "red apple",
        "--codes",
        "--temperature",
        "1",
        "--seed",
        "6",
    ]);
    let second: Vec<String> = serde_json::from_value::<Vec<i64>>(random[1]["codes"].clone())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(second.join(" "), expected.trim());
}

#[test]
fn codes_come_from_files_as_they_are_written() {
    let (model, folder) = (diffusion(128), pictures());
    let out = tempfile::tempdir().unwrap();
    let input = text(folder.path()).to_owned();
    let mut all = Vec::new();
    for format in ["text", "json", "jsonl"] {
        let file = out.path().join(format!("codes.{format}"));
        ok(&[
            "tokenize",
            &input,
            "--format",
            format,
            "--output",
            text(&file),
        ]);
        let place = out.path().join(format);
        ok(&with(
            &["decode", "--file", text(&file), "-o", text(&place)],
            &model,
        ));
        assert_eq!(
            files(&place),
            ["a.png", "b.png", "c.png", "sheet.png"],
            "{format}"
        );
        all.push(picture(&place.join("b.png")));
        assert_eq!(texts(&place.join("b.png"))["source"], "b.png");
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);

    // On stdin, as the other commands write it.
    let line = ok(&["draw", "red apple", "--codes"]);
    let place = out.path().join("piped");
    let command = with(&["decode", "--file", "-", "-o", text(&place)], &model);
    let output = piped(&command, line.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(files(&place), ["0001.png", "sheet.png"]);

    // All are checked first: what is wrong in the last line leaves nothing.
    let broken = out.path().join("broken.txt");
    fs::write(&broken, format!("{line}1 2 3\n")).unwrap();
    let place = out.path().join("none");
    let command = ["decode", "--file", text(&broken), "-o", text(&place)];
    refused(&with(&command, &model), 1, "broken.txt:2: 3 codes");
    assert!(!place.exists());
}

fn piped(arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_seed"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn an_image_head_draws_by_image() {
    let (model, folder) = (diffusion(128), pictures());
    let tokenizer = tokenizer_with_image_head(folder.path());
    let input = folder.path().join("a.png");
    let output = folder.path().join("back.png");
    let command = [
        "reconstruct",
        text(&input),
        "--checkpoint",
        text(&tokenizer),
        "-o",
        text(&output),
    ];
    ok(&with(&command, &model));
    let said = texts(&output);
    assert_eq!(
        (said["form"].as_str(), said["noise_level"].as_str()),
        ("image", "0")
    );
    let first = picture(&output);
    let other = [&command[..], &["--noise-level", "500"]].concat();
    ok(&with(&other, &model));
    assert_ne!(picture(&output), first);
    let text_form = [&command[..], &["--form", "text"]].concat();
    refused(&with(&text_form, &model), 1, "no text head");
    let image_form = ["reconstruct", text(&input), "--form", "image"];
    refused(&with(&image_form, &model), 1, "no image head");
    fs::remove_dir_all(model.path().join("image_normalizer")).unwrap();
    refused(&with(&command, &model), 1, "image_normalizer");
}

#[test]
fn a_preview_is_half_blocks_where_nothing_else_is_shown() {
    let (model, folder) = (diffusion(128), tempfile::tempdir().unwrap());
    let output = folder.path().join("a.png");
    let codes = vec!["5"; 32].join(",");
    let command = ["decode", &codes, "-o", text(&output), "--preview"];
    let told = ok(&with(&command, &model));
    // Sixteen rows of pixels, and the file's name.
    assert_eq!(told.lines().count(), 8 + 1, "{told}");
    assert_eq!(told.matches('▀').count(), 16 * 8);
    assert_eq!(told.lines().last(), Some(text(&output)));
}

#[test]
fn settings_out_of_range_are_refused_at_once() {
    let codes = vec!["1"; 32].join(" ");
    let model = tempfile::tempdir().unwrap();
    for (option, value) in [
        ("--steps", "0"),
        ("--steps", "10000"),
        ("--guidance", "NaN"),
        ("--guidance", "-1"),
        ("--guidance", "inf"),
        ("--prefix", "0"),
        ("--form", "pixels"),
        ("--scheduler", "euler"),
        ("--seed", "-1"),
        ("--draw-batch", "0"),
    ] {
        let command = ["decode", &codes, "--sd", text(model.path()), option, value];
        refused(&command, 2, option);
    }
    refused(&["decode"], 2, "CODES");
    refused(&["draw", "apple", "--codes", "--steps", "3"], 2, "--codes");
    refused(&["draw", "apple", "--codes", "--seed", "3"], 1, "--seed");
    refused(&["draw", "apple"], 1, "--sd");
    refused(&["decode", &codes], 1, "--sd");
    refused(&["reconstruct", "a.png"], 1, "--sd");
    refused(&["draw", " ", "--sd", "x"], 1, "empty");
}

#[test]
fn what_does_not_fit_is_one_line() {
    let model = diffusion(128);
    let codes = vec!["1"; 32].join(" ");
    let decode = |codes: &str, more: &[&str], told: &str| {
        let command = [&["decode", codes][..], more].concat();
        refused(&with(&command, &model), 1, told);
    };
    decode("1 2 3", &[], "3 codes");
    decode(&format!("{codes} 1"), &[], "33 codes");
    decode(
        &codes.replacen('1', "1024", 1),
        &[],
        "code 1024 at position 1",
    );
    decode(
        &codes.replacen("1 1", "1 -4", 1),
        &[],
        "code -4 at position 2",
    );
    decode(&codes.replacen('1', "x", 1), &[], "`x`");
    decode(&codes, &["--prefix", "33"], "prefix");
    decode(&codes, &["--guidance", "1", "--negative", "x"], "negative");
    decode(&codes, &["--noise-level", "5"], "noise level");
}

#[test]
fn places_are_not_taken_for_each_other() {
    let (model, folder) = (diffusion(128), pictures());
    let codes = vec!["1"; 32].join(" ");
    let file = folder.path().join("a.png");
    let below_file = file.join("b.png");
    let missing = folder.path().join("no/such/b.png");
    let other_kind = folder.path().join("b.jpg");
    for (place, told) in [
        (&below_file, "a.png"),
        (&missing, "b.png"),
        (&other_kind, ".png"),
    ] {
        let command = ["decode", &codes, "-o", text(place)];
        refused(&with(&command, &model), 1, told);
    }
    let several = ["reconstruct", text(folder.path()), "-o", text(&file)];
    refused(&with(&several, &model), 1, "this is a file");
    let fresh = folder.path().join("all.png");
    let several = ["draw", "apple", "--samples", "2", "-o", text(&fresh)];
    refused(&with(&several, &model), 1, "names a file");
    let unread = ["reconstruct", "no-such-picture.png", "-o", text(&fresh)];
    let output = seed(&with(&unread, &model));
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("no-such-picture.png"));
    assert_eq!(files(folder.path()), ["a.png", "b.png", "c.png"]);
}

/// Ctrl-C leaves the pictures that are whole, and nothing else.
#[cfg(unix)]
#[test]
fn a_stop_leaves_no_half_file() {
    use std::time::{Duration, Instant};

    let (model, folder) = (diffusion(128), tempfile::tempdir().unwrap());
    let rows = folder.path().join("codes.txt");
    let row = format!("{}\n", vec!["1"; 32].join(" "));
    fs::write(&rows, row.repeat(1000)).unwrap();
    let place = folder.path().join("pictures");
    let child = Command::new(env!("CARGO_BIN_EXE_seed"))
        .args(["decode", "--file", text(&rows), "-o", text(&place)])
        .args([
            "--sd",
            text(model.path()),
            "--steps",
            "20",
            "--draw-batch",
            "1",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !place.join("0001.png").exists() {
        assert!(started.elapsed() < Duration::from_mins(2), "no picture");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped"), "{}", stderr(&output));
    let left = files(&place);
    assert!(left.len() < 1000 && !left.contains(&"sheet.png".to_owned()));
    for name in left {
        assert_eq!(picture(&place.join(name)).dimensions(), (16, 16));
    }
}

#[test]
fn a_model_of_another_kind_is_named() {
    let codes = vec!["1"; 32].join(" ");
    let decode = |model: &Path, told: &str| {
        refused(&["decode", &codes, "--sd", text(model)], 1, told);
    };
    let empty = tempfile::tempdir().unwrap();
    decode(&empty.path().join("nowhere"), "nowhere");
    decode(empty.path(), text(empty.path()));

    let narrow = diffusion(64);
    decode(narrow.path(), "128 wide");
    let broken = diffusion(128);
    let weights = broken
        .path()
        .join("unet/diffusion_pytorch_model.safetensors");
    let vae = broken
        .path()
        .join("vae/diffusion_pytorch_model.safetensors");
    fs::copy(&vae, &weights).unwrap();
    decode(broken.path(), "missing");
    fs::write(&weights, b"damaged").unwrap();
    decode(broken.path(), "diffusion_pytorch_model.safetensors");
    fs::remove_file(&weights).unwrap();
    decode(broken.path(), "no weights");
    fs::write(
        broken.path().join("model_index.json"),
        r#"{"_class_name": "FluxPipeline"}"#,
    )
    .unwrap();
    decode(broken.path(), "FluxPipeline");
}

#[test]
fn help_has_examples() {
    for command in ["reconstruct", "decode", "draw"] {
        let help = ok(&[command, "--help"]);
        assert!(
            help.contains("Examples:") && help.contains("--sd"),
            "{command}"
        );
    }
    assert!(ok(&["completions", "bash"]).contains("reconstruct"));
}

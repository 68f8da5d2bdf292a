//! A user's folder: both layouts, the split, and everything that can be wrong with it.

use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use seed_data::{
    DataError, FolderOptions, FolderSet, PairSet, PairSubset, PictureOptions, split_held_out,
};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn picture(folder: &TempDir, name: &str, shade: u8) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(4, 3, Rgb([shade; 3]))
        .save(path)
        .unwrap();
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.path().join(name), content).unwrap();
}

fn open(folder: &TempDir) -> Result<FolderSet, DataError> {
    FolderSet::open(folder.path(), FolderOptions::default())
}

#[track_caller]
fn assert_caption_error(folder: &TempDir, expected_line: usize, part: &str) {
    match open(folder).unwrap_err() {
        error @ DataError::Caption { line, .. } => {
            assert_eq!(line, expected_line);
            assert!(error.to_string().contains(part), "{error}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_list_of_captions() {
    let folder = folder();
    picture(&folder, "pets/dog.png", 10);
    picture(&folder, "cat.jpg", 20);
    picture(&folder, "b.bmp", 30);
    write(
        &folder,
        "captions.jsonl",
        "{\"image\": \"pets/dog.png\", \"captions\": [\"A dog!\", \"A happy dog runs.\"]}\r\n\
         \n\
         {\"image\": \"./cat.jpg\", \"caption\": \"A cat\"}\n\
         {\"image\": \"b.bmp\", \"caption\": \"a CAT\"}\n\
         {\"image\": \"b.bmp\", \"caption\": \"second\"}\n",
    );
    let set = open(&folder).unwrap();
    let ids: Vec<_> = (0..set.len()).map(|i| set.id(i)).collect();
    assert_eq!(ids, ["b.bmp", "cat.jpg", "pets/dog.png"]);
    assert_eq!(set.captions(0), ["a cat", "second"]);
    assert_eq!(set.captions(2), ["a dog", "a happy dog runs"]);
    assert_eq!(set.concept(0), set.concept(1), "same caption, same concept");
    assert_ne!(set.concept(0), set.concept(2));
    assert_eq!(set.picture(2).unwrap().get_pixel(0, 0).0, [10; 3]);
}

#[test]
fn text_files_beside_pictures() {
    let folder = folder();
    picture(&folder, "deep/er/one.PNG", 1);
    picture(&folder, "two.webp", 2);
    write(
        &folder,
        "deep/er/one.txt",
        "First caption.\nSecond caption\n",
    );
    write(&folder, "two.txt", "\u{feff}Two");
    write(&folder, "notes.txt", "belongs to no picture");
    let set = open(&folder).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.id(0), "deep/er/one.PNG");
    assert_eq!(set.captions(0), ["first caption", "second caption"]);
    assert_eq!(set.captions(1), ["two"]);
}

#[test]
fn the_fingerprint_follows_the_content() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    write(&folder, "a.txt", "one");
    let first = open(&folder).unwrap().fingerprint();
    assert_eq!(open(&folder).unwrap().fingerprint(), first);
    write(&folder, "a.txt", "two");
    let second = open(&folder).unwrap().fingerprint();
    assert_ne!(second, first);
    picture(&folder, "b.png", 1);
    write(&folder, "b.txt", "two");
    let third = open(&folder).unwrap().fingerprint();
    assert_ne!(third, second);
    // The same files, decoded otherwise.
    let options = FolderOptions {
        picture: PictureOptions::reference(),
    };
    let otherwise = FolderSet::open(folder.path(), options).unwrap();
    assert_ne!(otherwise.fingerprint(), third);
}

/// Bitmaps of one size have files of one size.
#[test]
fn another_picture_in_a_file_of_the_same_size_is_another_content() {
    let folder = folder();
    for (name, shade) in [("a", 1), ("b", 2), ("twin", 1)] {
        picture(&folder, &format!("{name}.bmp"), shade);
        write(&folder, &format!("{name}.txt"), name);
    }
    let size = |name: &str| folder.path().join(name).metadata().unwrap().len();
    assert_eq!(size("a.bmp"), size("b.bmp"));
    let first = open(&folder).unwrap();
    assert_ne!(first.content(0), first.content(1));
    assert_eq!(first.content(0), first.content(2), "the same picture");
    picture(&folder, "b.bmp", 3);
    let second = open(&folder).unwrap();
    assert_ne!(second.fingerprint(), first.fingerprint());
    assert_ne!(second.content(1), first.content(1));
    assert_eq!(second.content(0), first.content(0));
    // What a picture shows does not depend on its name.
    std::fs::rename(folder.path().join("b.bmp"), folder.path().join("c.bmp")).unwrap();
    std::fs::rename(folder.path().join("b.txt"), folder.path().join("c.txt")).unwrap();
    let third = open(&folder).unwrap();
    assert_eq!(third.id(1), "c.bmp");
    assert_eq!(third.content(1), second.content(1));
    assert_ne!(third.fingerprint(), second.fingerprint());
}

#[test]
fn every_caption_is_a_candidate_and_a_reference() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    write(&folder, "a.txt", "A cat.\na small cat\nthe cat sits");
    let set = open(&folder).unwrap();
    assert_eq!(set.captions(0), ["a cat", "a small cat", "the cat sits"]);
    assert_eq!(set.candidates(0), set.captions(0));
    assert_eq!(set.references(0), set.captions(0));
}

#[test]
fn an_empty_folder_says_what_to_put_there() {
    let error = open(&folder()).unwrap_err();
    assert!(matches!(error, DataError::EmptyFolder { .. }));
    assert!(error.to_string().contains("captions.jsonl"), "{error}");
    let missing = FolderSet::open(Path::new("no/such/folder"), FolderOptions::default());
    assert!(matches!(missing, Err(DataError::Io { .. })));
}

#[test]
fn missing_pictures_are_counted_and_listed() {
    let folder = folder();
    picture(&folder, "here.png", 1);
    let list: String = (0..9)
        .map(|i| format!("gone{i}.png"))
        .chain(["here.png".to_owned()])
        .fold(String::new(), |list, name| {
            list + "{\"image\": \"" + &name + "\", \"caption\": \"x\"}\n"
        });
    write(&folder, "captions.jsonl", list);
    let error = open(&folder).unwrap_err();
    assert!(
        matches!(&error, DataError::MissingPictures { count: 9, .. }),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("gone0.png") && !text.contains("gone7.png"),
        "{text}"
    );
}

#[test]
fn pictures_without_captions_are_counted_and_listed() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    picture(&folder, "b.png", 1);
    write(&folder, "a.txt", "a");
    let error = open(&folder).unwrap_err();
    assert!(
        matches!(&error, DataError::MissingCaptions { count: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("b.png"), "{error}");
}

#[test]
fn bad_captions_are_named_by_file_and_line() {
    let folder = folder();
    picture(&folder, "a.png", 1);
    let good = "{\"image\": \"a.png\", \"caption\": \"fine\"}\n";
    let list = |second: &[u8], part: &str| {
        write(
            &folder,
            "captions.jsonl",
            [good.as_bytes(), second].concat(),
        );
        assert_caption_error(&folder, 2, part);
    };
    list(
        b"{\"image\": \"a.png\", \"caption\": \"\xff\xfe\"}\n",
        "UTF-8",
    );
    list(b"{\"image\": \"a.png\", \"caption\": \"\"}", "empty");
    list(b"{\"image\": \"a.png\", \"caption\": \"!!..\"}", "empty");
    list(b"{\"image\": \"a.png\"}", "no caption");
    list(b"{\"image\": \"a.png\", \"caption\": ", "expected");
    list(b"{\"image\": \"a.png\", \"text\": \"x\"}", "expected");
    list(
        b"{\"image\": \"../a.png\", \"caption\": \"x\"}",
        "out of the folder",
    );
    list(
        b"{\"image\": \"/etc/a.png\", \"caption\": \"x\"}",
        "out of the folder",
    );

    std::fs::remove_file(folder.path().join("captions.jsonl")).unwrap();
    write(&folder, "a.txt", b"fine\nlatin \xe9\n");
    assert_caption_error(&folder, 2, "UTF-8");
    write(&folder, "a.txt", "  \n");
    assert_caption_error(&folder, 1, "empty");
}

#[test]
fn a_damaged_picture_is_an_error_of_that_picture() {
    let folder = folder();
    picture(&folder, "good.png", 9);
    write(&folder, "bad.png", "no picture at all");
    write(&folder, "good.txt", "good");
    write(&folder, "bad.txt", "bad");
    let set = open(&folder).unwrap();
    let error = set.picture(0).unwrap_err();
    assert!(error.to_string().contains("bad.png"), "{error}");
    assert!(set.picture(1).is_ok());
}

#[test]
fn a_folder_is_split_by_what_its_pictures_show() {
    let folder = folder();
    for i in 0..40 {
        picture(&folder, &format!("{i:02}.png"), i);
        write(&folder, &format!("{i:02}.txt"), format!("picture {i}"));
    }
    let whole = open(&folder).unwrap();
    let fingerprint = whole.fingerprint();
    let whole: Arc<dyn PairSet> = Arc::new(whole);
    let (training, held_out) = split_held_out(&whole, 3, 0.25).unwrap();
    let mut all = [training.indices(), held_out.indices()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..40));
    assert!((4..=16).contains(&held_out.len()), "{}", held_out.len());

    let again = split_held_out(&whole, 3, 0.25).unwrap().1;
    assert_eq!(again.indices(), held_out.indices());
    assert_eq!(again.fingerprint(), held_out.fingerprint());
    assert_ne!(training.fingerprint(), held_out.fingerprint());
    assert_ne!(training.fingerprint(), fingerprint);
    let other = split_held_out(&whole, 4, 0.25).unwrap().1;
    assert_ne!(other.indices(), held_out.indices());

    let first = held_out.indices()[0];
    assert_eq!(held_out.id(0), whole.id(first));
    assert_eq!(held_out.captions(0), whole.captions(first));
    assert_eq!(held_out.content(0), whole.content(first));
    assert_eq!(held_out.picture(0).unwrap(), whole.picture(first).unwrap());
    assert!(PairSubset::new(whole, vec![50]).is_empty());

    // Renamed, with others added, a picture stays on its side.
    let name = held_out.id(0).to_owned();
    for ending in ["png", "txt"] {
        let old = folder.path().join(&name).with_extension(ending);
        std::fs::rename(old, folder.path().join(format!("moved.{ending}"))).unwrap();
    }
    for i in 100..120 {
        picture(&folder, &format!("{i}.png"), i);
        write(&folder, &format!("{i}.txt"), "one more");
    }
    let more: Arc<dyn PairSet> = Arc::new(open(&folder).unwrap());
    let (_, more_held_out) = split_held_out(&more, 3, 0.25).unwrap();
    let ids: Vec<&str> = (0..more_held_out.len())
        .map(|i| more_held_out.id(i))
        .collect();
    assert!(ids.contains(&"moved.png"));
    for index in 1..held_out.len() {
        assert!(ids.contains(&held_out.id(index)), "{}", held_out.id(index));
    }
}

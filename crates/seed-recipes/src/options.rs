//! What every training is asked in the same words: the options that the examples and `seed train` share.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use seed_data::{Cache, parse_size};
use seed_device::DeviceSpec;
use seed_train::{Existing, RunDir, RunInfo, StopError, StopFlag};
use serde::Serialize;

use crate::{error::RecipeError, settings::OfPictures};

/// What was asked for, whatever is trained.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// flex | ndarray | libtorch | libtorch:cuda:N | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    pub device: DeviceSpec,
    /// Your own pictures instead of the corpus that ships: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Go on where the run of this name stopped; with more steps in the last stage's settings, make it longer.
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Replace a run of this name, its results as well.
    #[arg(long)]
    pub overwrite: bool,
    /// A minute's run: shows that everything works, learns little.
    #[arg(long)]
    pub smoke: bool,
    /// Settings in TOML instead of the nano defaults; --print-config shows those.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings and leave.
    #[arg(long)]
    pub print_config: bool,
    /// Seed of everything that training draws, instead of the settings'.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Seed of the split of your own pictures into training and validation, instead of the settings'.
    #[arg(long, value_name = "N", requires = "data")]
    pub split_seed: Option<u64>,
    /// Most that frozen outputs may take on disk, such as 20GB; else SEED_CACHE_LIMIT, else 8 GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_limit: Option<u64>,
}

impl RunOptions {
    /// The cache of rendered drawings and frozen outputs.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if there is no folder for it, or its bound is none.
    pub fn cache(&self) -> Result<Cache, RecipeError> {
        let limit = Cache::limit_from(self.cache_limit)?;
        Ok(Cache::open(Cache::default_dir()?, limit)?)
    }

    /// The device that was asked for.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Device`] if it was not compiled in or is not there.
    pub fn open_device(&self) -> Result<Device, RecipeError> {
        Ok(self.device.open()?)
    }

    /// Names settings that were changed from what ships and decide nothing with the pictures that are trained on.
    pub(crate) fn tell_without_effect(&self, asked: &OfPictures<'_>, shipped: &OfPictures<'_>) {
        for key in self.without_effect(asked, shipped) {
            let of = match self.data {
                Some(_) => "the corpus' drawings; your own pictures are as they are",
                None => "pictures of your own (--data); the corpus has a split of its own",
            };
            eprintln!("the setting `{key}` has no effect here: it is for {of}");
        }
    }

    fn without_effect(
        &self,
        asked: &OfPictures<'_>,
        shipped: &OfPictures<'_>,
    ) -> impl Iterator<Item = &'static str> {
        let own = self.data.is_some();
        [
            (
                "render_size",
                own && asked.render_size != shipped.render_size,
            ),
            ("styles", own && asked.styles != shipped.styles),
            ("split_seed", !own && asked.split_seed != shipped.split_seed),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
    }

    /// The folder of the run `name`, which will write `outputs`.
    pub(crate) fn open_run(
        &self,
        name: &str,
        config: &impl Serialize,
        seed: u64,
        outputs: &'static [&'static str],
    ) -> Result<RunDir, RecipeError> {
        let info = RunInfo {
            config: serde_json::to_value(config).unwrap_or_default(),
            seed,
            device: self.device.to_string(),
            outputs,
        };
        let existing = Existing::asked(self.resume, self.overwrite);
        Ok(RunDir::open(&self.runs, name, existing, &info)?)
    }
}

/// The flag that Ctrl-C raises; a second Ctrl-C ends the program at once, without half-written cache entries.
///
/// # Errors
///
/// [`StopError`] if the program has a handler of its own.
pub fn stop_on_ctrl_c() -> Result<StopFlag, StopError> {
    StopFlag::on_ctrl_c(seed_data::remove_partial_files)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use seed_data::Style;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: RunOptions,
    }

    fn without_effect(arguments: &[&str]) -> Vec<&'static str> {
        let program = std::iter::once(&"program").chain(arguments);
        let shipped = OfPictures {
            render_size: 80,
            styles: &[Style::Plain],
            split_seed: 0,
        };
        let asked = OfPictures {
            render_size: 96,
            styles: &[],
            split_seed: 7,
        };
        let options = Program::parse_from(program).options;
        assert_eq!(options.without_effect(&shipped, &shipped).count(), 0);
        options.without_effect(&asked, &shipped).collect()
    }

    #[test]
    fn settings_of_other_pictures_are_named() {
        assert_eq!(without_effect(&[]), ["split_seed"]);
        assert_eq!(
            without_effect(&["--data", "mine"]),
            ["render_size", "styles"]
        );
    }
}

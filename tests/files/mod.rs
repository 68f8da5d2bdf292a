//! The files of a crate and which of them use which, by the names they import.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// A module by its path in the crate; the crate itself is empty.
type Module = Vec<String>;

/// The modules of a crate and what they hand on.
pub(crate) struct Crate {
    files: BTreeMap<Module, syn::File>,
    /// Names that a module re-exports, and where they come from.
    exports: BTreeMap<(Module, String), Module>,
}

impl Crate {
    /// Reads all files below `src`.
    pub(crate) fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        read(src, src, &mut files);
        let mut krate = Self {
            files,
            exports: BTreeMap::new(),
        };
        let modules: Vec<Module> = krate.files.keys().cloned().collect();
        for module in modules {
            let mut found = Vec::new();
            for item in &krate.files[&module].items {
                if let syn::Item::Use(item) = item
                    && !matches!(item.vis, syn::Visibility::Inherited)
                {
                    leaves(&item.tree, &mut Vec::new(), &mut found);
                }
            }
            for path in found {
                let Some(name) = path.last().cloned() else {
                    continue;
                };
                if let Some(from) = krate.absolute(&module, &path) {
                    krate.exports.insert((module.clone(), name), from);
                }
            }
        }
        krate
    }

    /// For each file, the files whose names it uses outside of its tests.
    pub(crate) fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let uses = self.files.iter().map(|(module, file)| {
            let mut paths = Paths::default();
            paths.visit_file(file);
            let used = paths.0.iter().filter_map(|path| {
                let path = self.absolute(module, path)?;
                Some(self.defined_in(&path))
            });
            let used = used.filter(|used| used != module).collect();
            (module.clone(), used)
        });
        uses.collect()
    }

    /// A circle among the files, if there is one.
    pub(crate) fn circle(&self) -> Option<Vec<String>> {
        let uses = self.uses();
        let mut done = BTreeSet::new();
        for module in uses.keys() {
            if let Some(circle) = walk(module, &uses, &mut Vec::new(), &mut done) {
                return Some(circle.iter().map(|module| module.join("::")).collect());
            }
        }
        None
    }

    /// A path as it is written in `module`, from the crate's root; none of another crate's.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            // A module of the file's own, as `lib.rs` names them.
            name => {
                let mut own = module.clone();
                own.push(name.to_owned());
                return self
                    .files
                    .contains_key(&own)
                    .then(|| [module.as_slice(), path].concat());
            }
        };
        let mut rest = rest;
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        Some([base.as_slice(), rest].concat())
    }

    /// The file that defines what a path from the root names, through all that hand it on.
    fn defined_in(&self, path: &[String]) -> Module {
        let mut module: Module = Vec::new();
        for (at, part) in path.iter().enumerate() {
            let mut below = module.clone();
            below.push(part.clone());
            if self.files.contains_key(&below) {
                module = below;
                continue;
            }
            if let Some(from) = self.exports.get(&(module.clone(), part.clone())) {
                return self.defined_in(&[from.as_slice(), &path[at + 1..]].concat());
            }
            break;
        }
        module
    }
}

fn read(src: &Path, folder: &Path, files: &mut BTreeMap<Module, syn::File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(src, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap();
            files.insert(module_of(path.strip_prefix(src).unwrap()), file);
        }
    }
}

fn module_of(file: &Path) -> Module {
    let file: PathBuf = file.with_extension("");
    let parts = file.iter().map(|part| part.to_str().unwrap().to_owned());
    let mut module: Module = parts.collect();
    if module
        .last()
        .is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str()))
    {
        module.pop();
    }
    module
}

/// The paths of a `use`, one a name.
fn leaves(tree: &syn::UseTree, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, before, found);
            }
        }
        syn::UseTree::Name(name) if name.ident == "self" => found.push(before.clone()),
        syn::UseTree::Name(syn::UseName { ident })
        | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
            found.push([before.as_slice(), &[ident.to_string()]].concat());
        }
        syn::UseTree::Glob(_) => found.push(before.clone()),
    }
}

/// All paths of a file that can lead into its own crate; tests are left out, and so is what a file hands on.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'a> Visit<'a> for Paths {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if matches!(item.vis, syn::Visibility::Inherited) {
            leaves(&item.tree, &mut Vec::new(), &mut self.0);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if parts.len() > 1 && ["crate", "super", "self"].contains(&parts[0].as_str()) {
            self.0.push(parts);
        }
        visit::visit_path(self, path);
    }
}

fn walk(
    module: &Module,
    uses: &BTreeMap<Module, BTreeSet<Module>>,
    above: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(at) = above.iter().position(|other| other == module) {
        return Some(above[at..].to_vec());
    }
    if !done.insert(module.clone()) {
        return None;
    }
    above.push(module.clone());
    for used in &uses[module] {
        if let Some(circle) = walk(used, uses, above, done) {
            return Some(circle);
        }
    }
    above.pop();
    None
}

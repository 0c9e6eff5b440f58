//! What tests of users files have in common: hashes, names, and a folder with a file in it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::RoleName;
use crate::identity::UserName;

pub(crate) const OLD: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";
pub(crate) const NEW: &str = "BF1:00128:7B1MFk55Gswv648L:+zReK36LKHWNfbYKKNTsXhiqLMDxTsyK";

pub(crate) fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub(crate) fn roles(names: &[&str]) -> Vec<RoleName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// In the texts of the tests `OLD` and `NEW` stand for the hashes.
pub(crate) fn with_hashes(text: &str) -> String {
    text.replace("OLD", OLD).replace("NEW", NEW)
}

pub(crate) fn folder_with(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users.yaml");
    fs::write(&file, with_hashes(text)).unwrap();
    (folder, file)
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o7777
}

//! Passwords of files: written here, or where they are.

use crate::config::Source;
use crate::config::document::At;
use crate::config::file::{SecretFile, SecretPlaceFile};
use crate::tls::secret::Secret;

/// A password, if one is written. Files are not read yet.
pub(super) fn lower(
    written: Option<SecretFile>,
    source: &Source<'_>,
    at: &At<'_>,
) -> Option<Secret> {
    match written? {
        SecretFile::Value(value) => value_of(value, at),
        SecretFile::Place(place) => lower_place(place, source, at),
    }
}

fn lower_place(written: SecretPlaceFile, source: &Source<'_>, at: &At<'_>) -> Option<Secret> {
    match written {
        SecretPlaceFile {
            env: Some(name),
            file: None,
            credential: None,
        } => {
            let at = at.key("env");
            match (source.variables)(&name) {
                Some(value) => value_of(value, &at),
                None => {
                    let name = at.quoted(&name);
                    at.problem(format!("the environment variable {name} is not set"));
                    None
                }
            }
        }
        SecretPlaceFile {
            env: None,
            file: Some(file),
            credential: None,
        } => {
            let file = super::input(&file, "password", source, &at.key("file"))?;
            Some(Secret::File(file))
        }
        SecretPlaceFile {
            env: None,
            file: None,
            credential: Some(name),
        } => lower_credential(&name, source, &at.key("credential")),
        _ => {
            if !at.is_refused() {
                at.problem("write one of env, file and credential");
            }
            None
        }
    }
}

fn value_of(value: String, at: &At<'_>) -> Option<Secret> {
    if value.is_empty() || value.contains('\0') {
        at.problem("a password is at least one character, and none of them NUL");
        return None;
    }
    Some(Secret::Value(value.into()))
}

/// systemd puts credentials into a folder of their own (systemd.exec(5), `LoadCredential=`).
fn lower_credential(name: &str, source: &Source<'_>, at: &At<'_>) -> Option<Secret> {
    const FOLDER: &str = "CREDENTIALS_DIRECTORY";
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        at.problem("expected the name of a credential, which has no slash");
        return None;
    }
    let Some(folder) = (source.variables)(FOLDER) else {
        at.problem(format!(
            "{FOLDER} is not set; write LoadCredential={name}:FILE into the systemd unit"
        ));
        return None;
    };
    Some(Secret::File([folder.as_str(), name].iter().collect()))
}

//! Whether request bodies can be kept where the configuration says: found out before somebody sends
//! one.

use std::io;
use std::path::PathBuf;

use crate::config::settings::Settings;
use crate::proxy::spec::Collected;
use crate::proxy::spool;

/// Why they cannot.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place}: cannot keep request bodies in {}: {source}; name another folder, as \"buffering: \
     {{folder: /var/tmp}}\"",
    folder.display()
)]
pub struct BufferingError {
    place: String,
    folder: PathBuf,
    source: io::Error,
}

/// Looks whether the folder can be used, where any upstream needs it. Leaves nothing there.
///
/// # Errors
/// [`BufferingError`].
pub fn check(settings: &Settings) -> Result<(), BufferingError> {
    let collects = |it: Collected| it != Collected::None;
    if !settings.upstreams.iter().any(|it| collects(it.collected)) {
        return Ok(());
    }
    let spec = &settings.buffering;
    spool::check(&spec.folder).map_err(|source| BufferingError {
        place: spec.place.clone(),
        folder: spec.folder.clone(),
        source,
    })
}

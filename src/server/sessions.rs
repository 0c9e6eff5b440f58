//! The sessions of a configuration: in memory, or in a file whose default place only the system
//! knows; and ending them for administrators.

use std::path::PathBuf;

use crate::config::settings::Settings;
use crate::gate::session::ShortDigest;
use crate::observe::admin::{ActionError, Which};
use crate::store::file::{self, FileStore, OpenError, SessionFile};
use crate::store::memory::MemoryStore;
use crate::store::{Kept, SessionStore as _, Sessions};
use crate::tls::self_signed::state_folder;

/// Why sessions cannot be kept where the configuration wants them, with where that is written.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// In no file.
    #[error("{place}: this system has no folder for that; write \"path\" beside it")]
    NoPlace {
        /// Where it is configured.
        place: String,
    },
    /// Not in this one.
    #[error("{place}: {}: {error}", path.display())]
    File {
        /// Where it is configured.
        place: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: OpenError,
    },
}

impl SessionsError {
    /// Whether another process has the file. Nothing is wrong with the configuration then.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::File {
                error: OpenError::InUse,
                ..
            }
        )
    }
}

/// The sessions that are kept, ready for more.
///
/// # Errors
/// [`SessionsError`]; what is in a file that cannot be used stays there.
pub fn open(settings: &Settings) -> Result<Sessions, SessionsError> {
    let bounds = settings.session_bounds;
    let Some(file) = &settings.session_file else {
        return Ok(Sessions::Memory(MemoryStore::new(bounds)));
    };
    let path = path_of(file)?;
    let opened = FileStore::open(&path, bounds);
    opened
        .map(Sessions::File)
        .map_err(|error| at(file, path, error))
}

/// Looks whether that would work, and changes nothing.
///
/// # Errors
/// [`SessionsError`].
pub fn check(settings: &Settings) -> Result<(), SessionsError> {
    let Some(file) = &settings.session_file else {
        return Ok(());
    };
    let path = path_of(file)?;
    file::check(&path).map_err(|error| at(file, path, error))
}

/// Ends what an administrator wants ended; which sessions they were.
pub(super) async fn end(sessions: &Sessions, which: Which) -> Result<Vec<Kept>, ActionError> {
    let unavailable = |_| ActionError::Unavailable;
    let (id, user) = match which {
        Which::All => return sessions.end_all(None).await.map_err(unavailable),
        Which::Of(user) => return sessions.end_all(Some(&user)).await.map_err(unavailable),
        Which::One(id, user) => (id, user),
    };
    let short = ShortDigest::parse(&id).ok_or(ActionError::NotFound)?;
    let mut found = sessions.find(&short).await.map_err(unavailable)?;
    found.retain(|it| user.as_ref().is_none_or(|user| it.session.user == *user));
    let one = match found.as_slice() {
        [] => return Err(ActionError::NotFound),
        [one] => one.digest,
        _ => return Err(ActionError::Ambiguous),
    };
    match sessions.end(&one).await.map_err(unavailable)? {
        true => Ok(found),
        // It ended by itself meanwhile.
        false => Err(ActionError::NotFound),
    }
}

fn path_of(file: &SessionFile) -> Result<PathBuf, SessionsError> {
    let default = || state_folder().map(|folder| folder.join("sessions.redb"));
    let path = file.path.clone().or_else(default);
    path.ok_or_else(|| SessionsError::NoPlace {
        place: file.place.clone(),
    })
}

fn at(file: &SessionFile, path: PathBuf, error: OpenError) -> SessionsError {
    let place = file.place.clone();
    SessionsError::File { place, path, error }
}

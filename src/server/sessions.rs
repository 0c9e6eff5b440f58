//! The sessions of a configuration: in memory, or in a file whose default place only the system
//! knows; and ending them for administrators, and where users change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::settings::Settings;
use crate::gate::session::ShortDigest;
use crate::gate::users::Changed;
use crate::identity::UserName;
use crate::observe::admin::{ActionError, Which};
use crate::proxy::Shared;
use crate::store::file::{self, FileStore, OpenError, SessionFile};
use crate::store::memory::MemoryStore;
use crate::store::{Kept, SessionStore as _, Sessions, StoreUnavailable};
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
        return Ok(MemoryStore::new(bounds).into());
    };
    let path = path_of(file)?;
    let opened = FileStore::open(&path, bounds);
    opened
        .map(Sessions::from)
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
        [] => {
            // It may have ended just before, and not for good yet.
            sessions.settle().await.map_err(unavailable)?;
            return Err(ActionError::NotFound);
        }
        [one] => one.digest,
        _ => return Err(ActionError::Ambiguous),
    };
    match sessions.end(&one).await.map_err(unavailable)? {
        true => Ok(found),
        // It ended by itself meanwhile.
        false => Err(ActionError::NotFound),
    }
}

/// Puts on record that these sessions were ended.
pub(super) async fn note_ends(shared: &Shared, ended: &[Kept], why: &str) {
    /// Lines that the log takes at once with room to spare, and the time it needs for them.
    const AT_ONCE: usize = 1000;
    const PAUSE: Duration = Duration::from_millis(20);
    for (at, kept) in ended.iter().enumerate() {
        if at % AT_ONCE == AT_ONCE - 1 {
            tokio::time::sleep(PAUSE).await;
        }
        shared.note_end(&shared.log, kept, why);
    }
}

// === Where users change ===

/// Asks for the end of sessions whose users have changed.
///
/// Nothing depends on when that is: what such a session proves is looked up with every request.
pub(super) struct SessionEnds(UnboundedSender<(UserName, Changed)>);

impl SessionEnds {
    /// With a task of this runtime that ends them: those of before at first, which may be of users
    /// who have changed while nothing ran.
    pub(super) fn start(runtime: &Runtime, shared: Arc<Shared>) -> Self {
        // As many as there are users, for each time that they change.
        let (asks, asked) = unbounded_channel();
        runtime.spawn(end_as_asked(shared, asked));
        Self(asks)
    }

    /// Ends those of `user`.
    pub(super) fn end(&self, user: &UserName, why: Changed) {
        // It is only gone where the process ends, and the sessions with it or by the next start.
        drop(self.0.send((user.clone(), why)));
    }
}

/// How long a store that does not answer is left alone.
const STORE_DOWN: Duration = Duration::from_secs(1);

async fn end_as_asked(shared: Arc<Shared>, mut asked: UnboundedReceiver<(UserName, Changed)>) {
    while end_left_over(&shared).await.is_err() {
        tokio::time::sleep(STORE_DOWN).await;
    }
    while let Some((user, why)) = asked.recv().await {
        loop {
            match shared.sessions.end_all(Some(&user)).await {
                Ok(ended) => break note_ends(&shared, &ended, why.as_str()).await,
                Err(_) => tokio::time::sleep(STORE_DOWN).await,
            }
        }
    }
}

/// Ends the sessions of users who are not there any more or have another password.
async fn end_left_over(shared: &Shared) -> Result<(), StoreUnavailable> {
    const PAGE: usize = 1000;
    let mut last = None;
    loop {
        let page = shared.sessions.list(None, last.as_ref(), PAGE).await?;
        let Some(end) = page.last() else {
            return Ok(());
        };
        last = Some((end.session.user.clone(), end.digest));
        let snapshot = shared.snapshot.load_full();
        for kept in page {
            if let Some(why) = snapshot.gate.users.change_since(&kept.session)
                && shared.sessions.end(&kept.digest).await?
            {
                shared.note_end(&shared.log, &kept, why.as_str());
            }
        }
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

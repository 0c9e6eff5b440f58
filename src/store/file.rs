//! Sessions in a file, so that a restart logs nobody out.
//!
//! All of them are in memory too, and requests look there only: no request waits for the disk. One
//! thread writes. A login and a logout are answered when the disk has them. When a session was used
//! last is written once in a while (with each sweep): after a crash it counts as unused since then,
//! and at most ends that much earlier.
//!
//! On disk are digests, never ids: whoever reads the file can take over no session. A file that is
//! damaged or of somebody else is an error at start. What cannot be written while running makes the
//! store refuse everything, since a logout might be lost; it is tried again every second, and then
//! all that is in memory is written anew.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable, StorageBackend, StorageError,
    Table, TableDefinition, TableHandle as _,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::memory::MemoryStore;
use super::{Kept, SessionBounds, SessionStore, StoreUnavailable, WhyEnded};
use crate::gate::session::{Session, SessionDigest, SessionPolicy, ShortDigest, Timestamp};
use crate::identity::UserName;

/// Its name says what a row means: begun, credential epoch, last seen, user.
const SESSIONS: TableDefinition<'_, &[u8; 32], (u64, u64, u64, &str)> =
    TableDefinition::new("portcullis sessions 1");

/// What is read is read once: memory for pages is only of use between two writes.
const CACHE: usize = 8 << 20;

/// How long a login or logout waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last writes may take.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Between two tries to write again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Logins and logouts that the disk gets together, with one wait for all.
const TOGETHER: usize = 256;

/// Sessions looked at between two of these, when it is written which were used.
const PAGE: usize = 500;

/// What a use may have been noted later than it was.
const LATE: Duration = Duration::from_secs(60);

/// Where sessions are to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFile {
    /// The file; without, it is in the state folder of the system.
    pub path: Option<PathBuf>,
    /// Where that is configured.
    pub place: String,
}

/// Why a file of sessions cannot be used. What is in it stays.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is open already.
    #[error("another process uses it; every gate needs a file of its own")]
    InUse,
    /// What is in it is not what was written there.
    #[error(
        "it is damaged or no file of sessions; move it away, and everybody has to log in again \
         ({0})"
    )]
    Damaged(String),
}

/// Sessions in memory and in a file.
#[derive(Debug)]
pub struct FileStore {
    memory: Arc<MemoryStore>,
    is_up: Arc<AtomicBool>,
    /// As many as there are requests that wait for them, and a few more.
    jobs: Sender<Job>,
}

/// What is to be written.
#[derive(Debug)]
enum Job {
    Begin(Kept, Done),
    End(Vec<SessionDigest>, Option<Done>),
    /// Which sessions were used, as of this time.
    NoteUse(Timestamp),
    /// This, and no more.
    Stop(Sender<()>),
}

/// Told when the disk has it.
type Done = oneshot::Sender<Result<(), StoreUnavailable>>;

/// Opens the database, each time that it is tried again.
type Open = Box<dyn Fn() -> Result<Database, OpenError> + Send>;

impl FileStore {
    /// The sessions in the file of that path, which is made where there is none.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be used.
    pub fn open(path: &Path, bounds: SessionBounds) -> Result<Self, OpenError> {
        let path = path.to_owned();
        Self::start(Box::new(move || open_file(&path)), bounds)
    }

    fn start(open: Open, bounds: SessionBounds) -> Result<Self, OpenError> {
        let database = open()?;
        let memory = Arc::new(MemoryStore::new(bounds));
        let displaced = load(&database, &memory)?;
        let (jobs, to_do) = mpsc::channel();
        let is_up = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            memory: Arc::clone(&memory),
            is_up: Arc::clone(&is_up),
            open,
            database: Some(database),
            jobs: to_do,
            uses: None,
            uses_noted: Timestamp(0),
        };
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || writer.run())?;
        let store = Self {
            memory,
            is_up,
            jobs,
        };
        store.forget(displaced);
        Ok(store)
    }

    /// Whether the file can be written.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Writes what is still to be written, before the process ends.
    pub fn close(&self, now: Timestamp) {
        let (written, wait) = mpsc::channel();
        let asked = self.jobs.send(Job::NoteUse(now));
        if asked
            .and_then(|()| self.jobs.send(Job::Stop(written)))
            .is_ok()
        {
            // Whatever keeps the disk from it, the next start can do without.
            let _ = wait.recv_timeout(LAST_WRITES);
        }
    }

    fn check_up(&self) -> Result<(), StoreUnavailable> {
        self.is_up().then_some(()).ok_or(StoreUnavailable)
    }

    /// Removes from the disk what memory has no more. Nobody waits for it.
    fn forget(&self, digests: Vec<SessionDigest>) {
        if !digests.is_empty() {
            // A thread that has ended was stopped, or has said why.
            drop(self.jobs.send(Job::End(digests, None)));
        }
    }

    async fn write(&self, job: impl FnOnce(Done) -> Job) -> Result<(), StoreUnavailable> {
        let (done, wait) = oneshot::channel();
        self.jobs.send(job(done)).map_err(|_| StoreUnavailable)?;
        if let Ok(written) = timeout(PATIENCE, wait).await {
            return written.unwrap_or(Err(StoreUnavailable));
        }
        // Down until the disk has all that was asked so far: who tries again to log out must not
        // hear before that there is no session any more.
        self.is_up.store(false, Ordering::Release);
        drop(self.jobs.send(Job::End(Vec::new(), None)));
        Err(StoreUnavailable)
    }
}

impl FileStore {
    /// Removes from the disk what has just ended in memory. Where that fails, it has ended all the
    /// same, and whoever asked does not put it on record.
    async fn write_ended(&self, ended: Vec<Kept>) -> Result<Vec<Kept>, StoreUnavailable> {
        let digests = ended.iter().map(|it| it.digest).collect();
        match self.write(|done| Job::End(digests, Some(done))).await {
            Ok(()) => Ok(ended),
            Err(unavailable) => {
                self.memory.tell(ended, WhyEnded::StoreFailed);
                Err(unavailable)
            }
        }
    }
}

impl SessionStore for FileStore {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        let session = Arc::new(session);
        self.write(|done| Job::Begin(Kept { digest, session }, done))
            .await
    }

    async fn look_up(
        &self,
        digest: &SessionDigest,
    ) -> Result<Option<Arc<Session>>, StoreUnavailable> {
        self.check_up()?;
        Ok(self.memory.get(digest))
    }

    async fn end(&self, digest: &SessionDigest) -> Result<bool, StoreUnavailable> {
        // It ends here and now, whatever the disk says.
        let ended: Vec<Kept> = self.memory.take(digest).into_iter().collect();
        let count = ended.len();
        self.write_ended(ended).await.map(|_| count > 0)
    }

    async fn end_all(&self, user: Option<&UserName>) -> Result<Vec<Kept>, StoreUnavailable> {
        self.write_ended(self.memory.take_all(user)).await
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        let ended = self.memory.take_expired(policy, now);
        let count = ended.len();
        self.forget(ended);
        self.jobs
            .send(Job::NoteUse(now))
            .map_err(|_| StoreUnavailable)?;
        Ok(count)
    }

    async fn list(
        &self,
        user: Option<&UserName>,
        after: Option<&(UserName, SessionDigest)>,
        most: usize,
    ) -> Result<Vec<Kept>, StoreUnavailable> {
        self.check_up()?;
        self.memory.list(user, after, most).await
    }

    async fn find(&self, short: &ShortDigest) -> Result<Vec<Kept>, StoreUnavailable> {
        self.check_up()?;
        self.memory.find(short).await
    }

    fn untold(&self) -> Vec<(Kept, WhyEnded)> {
        self.memory.untold()
    }

    fn kept(&self) -> usize {
        self.memory.kept()
    }
}

// === The thread that writes ===

struct Writer {
    memory: Arc<MemoryStore>,
    is_up: Arc<AtomicBool>,
    open: Open,
    database: Option<Database>,
    jobs: Receiver<Job>,
    /// Which uses are being written.
    uses: Option<Uses>,
    /// Those before this time have been.
    uses_noted: Timestamp,
}

/// How far the list of sessions has been looked through for those that were used.
struct Uses {
    begun: Timestamp,
    after: Option<(UserName, SessionDigest)>,
}

impl Writer {
    fn run(mut self) {
        while let Some(jobs) = self.next_jobs() {
            if self.database.is_none() {
                self.try_again();
            }
            let stop = self.write(jobs);
            if let Some(stop) = stop {
                while self.uses.is_some() && self.is_up.load(Ordering::Acquire) {
                    self.write(Vec::new());
                }
                // Closed, so that it need not be put right at the next start.
                self.database = None;
                let _ = stop.send(());
                return;
            }
        }
    }

    /// What there is to do, which may be nothing new; `None` when there will be no more.
    fn next_jobs(&self) -> Option<Vec<Job>> {
        let first = match (&self.database, &self.uses) {
            (None, _) => match self.jobs.recv_timeout(RETRY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
            (Some(_), Some(_)) => match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return None,
            },
            (Some(_), None) => Some(self.jobs.recv().ok()?),
        };
        let more = self.jobs.try_iter().take(TOGETHER);
        Some(first.into_iter().chain(more).collect())
    }

    /// Does all of that with one wait for the disk. Gives back who waits for the end.
    fn write(&mut self, jobs: Vec<Job>) -> Option<Sender<()>> {
        let (mut rows, mut begun, mut waiting, mut stop) = (Vec::new(), Vec::new(), vec![], None);
        for job in jobs {
            match job {
                Job::Begin(_, done) if self.database.is_none() => {
                    drop(done.send(Err(StoreUnavailable)));
                }
                Job::Begin(kept, done) => {
                    // Its id is nobody's yet: nobody is let in by it before the disk has it.
                    let displaced = self.memory.insert(kept.clone());
                    begun.push(kept.digest);
                    rows.push(Row::Put(kept));
                    rows.extend(displaced.into_iter().map(Row::Remove));
                    waiting.push(done);
                }
                Job::End(digests, done) => {
                    rows.extend(digests.into_iter().map(Row::Remove));
                    waiting.extend(done);
                }
                Job::NoteUse(now) if self.uses.is_none() => {
                    self.uses = Some(Uses {
                        begun: now,
                        after: None,
                    });
                }
                Job::NoteUse(_) => {}
                Job::Stop(done) => stop = Some(done),
            }
        }
        rows.extend(self.next_uses().into_iter().map(Row::Put));
        let written = match &self.database {
            None => Err(StoreUnavailable),
            Some(_) if rows.is_empty() => Ok(()),
            Some(database) => commit(database, &rows).map_err(|_| StoreUnavailable),
        };
        self.is_up.store(written.is_ok(), Ordering::Release);
        if written.is_err() {
            self.database = None;
            for digest in begun {
                self.memory.take(&digest);
            }
        }
        for done in waiting {
            let told = written.as_ref().copied().map_err(|_| StoreUnavailable);
            // Whoever waited may have given up.
            drop(done.send(told));
        }
        stop
    }

    /// The next sessions of which it is to be written when they were used.
    fn next_uses(&mut self) -> Vec<Kept> {
        let Some(uses) = &mut self.uses else {
            return Vec::new();
        };
        let page = self.memory.page(None, uses.after.as_ref(), PAGE);
        match page.last() {
            Some(last) => uses.after = Some((last.session.user.clone(), last.digest)),
            None => {
                self.uses_noted = uses.begun;
                self.uses = None;
            }
        }
        let was_used = |kept: &Kept| {
            let seen = kept.session.last_seen();
            seen > kept.session.created && self.uses_noted.since(seen) < LATE
        };
        page.into_iter().filter(was_used).collect()
    }

    /// Opens the file again and writes all that is in memory: what could not be written is in it.
    fn try_again(&mut self) {
        let opened = (self.open)().ok();
        let rewritten = opened.filter(|database| rewrite(database, &self.memory).is_ok());
        self.is_up.store(rewritten.is_some(), Ordering::Release);
        self.database = rewritten;
    }
}

// === The file ===

/// What becomes of a row.
enum Row {
    Put(Kept),
    Remove(SessionDigest),
}

fn commit(database: &Database, rows: &[Row]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(SESSIONS)?;
        for row in rows {
            match row {
                Row::Put(kept) => put(&mut table, kept)?,
                Row::Remove(digest) => drop(table.remove(&digest.0)?),
            }
        }
    }
    Ok(write.commit()?)
}

fn put(
    table: &mut Table<'_, &'static [u8; 32], (u64, u64, u64, &'static str)>,
    kept: &Kept,
) -> Result<(), StorageError> {
    let session = &kept.session;
    let (begun, seen) = (session.created.0, session.last_seen().0);
    let row = (begun, session.credential_epoch, seen, session.user.as_str());
    table.insert(&kept.digest.0, row).map(drop)
}

fn rewrite(database: &Database, memory: &MemoryStore) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(SESSIONS)?;
        table.retain(|_, _| false)?;
        let mut after = None;
        loop {
            let page = memory.page(None, after.as_ref(), PAGE);
            let Some(last) = page.last() else { break };
            after = Some((last.session.user.clone(), last.digest));
            for kept in &page {
                put(&mut table, kept)?;
            }
        }
    }
    Ok(write.commit()?)
}

/// Fills an empty store; which sessions were more than its bounds allow.
fn load(database: &Database, memory: &MemoryStore) -> Result<Vec<SessionDigest>, OpenError> {
    let mut displaced = Vec::new();
    read(database, |kept| displaced.extend(memory.insert(kept)))?;
    Ok(displaced)
}

fn read(database: &Database, mut each: impl FnMut(Kept)) -> Result<(), OpenError> {
    // One text for all sessions of a user.
    let mut users: BTreeSet<UserName> = BTreeSet::new();
    let read = database.begin_read().map_err(why)?;
    let table = read.open_table(SESSIONS).map_err(why)?;
    for row in table.iter().map_err(why)? {
        let (digest, row) = row.map_err(why)?;
        let (begun, epoch, seen, user) = row.value();
        let user = UserName::parse(user).map_err(damaged)?;
        let user = users.get(&user).cloned().unwrap_or(user);
        users.insert(user.clone());
        let session = Session::resume(user, epoch, Timestamp(begun), Timestamp(seen));
        each(Kept {
            digest: SessionDigest(*digest.value()),
            session: session.into(),
        });
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> OpenError {
    OpenError::Damaged(error.to_string())
}

/// Opens the file for us alone, or makes it.
fn open_file(path: &Path) -> Result<Database, OpenError> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    let file = options.open(path)?;
    check_regular(&file)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    // The file is to be found after a power cut as well.
    File::open(folder)?.sync_all()?;
    open_database(FileBackend::new(file).map_err(why)?)
}

fn check_regular(file: &File) -> io::Result<()> {
    match file.metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Opens a database after every page of it was checked: what is damaged must not be half believed.
fn open_database(backend: impl StorageBackend) -> Result<Database, OpenError> {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    let opened = builder.create_with_backend(backend);
    let database = opened.map_err(why)?;
    let write = database.begin_write().map_err(why)?;
    let tables: Vec<_> = write.list_tables().map_err(why)?.collect();
    if tables.iter().any(|table| table.name() != SESSIONS.name()) {
        return Err(damaged("it has tables of somebody else"));
    }
    write.open_table(SESSIONS).map_err(why)?;
    write.commit().map_err(why)?;
    Ok(database)
}

fn why(error: impl Into<redb::Error>) -> OpenError {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => OpenError::InUse,
        redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
            error.into()
        }
        error => damaged(error),
    }
}

/// Looks whether a file could be used, and changes nothing: not even one that is not there yet.
///
/// # Errors
/// [`OpenError`]. That a running gate uses it is none.
pub fn check(path: &Path) -> Result<(), OpenError> {
    let copied = match File::open(path) {
        Ok(file) => copy(&file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let checked = open_database(copied).and_then(|database| read(&database, drop));
    match checked {
        // A copy of what is being written may be anything.
        Err(_) if is_in_use(path) => Ok(()),
        // Memory does not fail: it ends before the database does.
        Err(OpenError::Io(error)) => Err(damaged(error)),
        checked => checked,
    }
}

fn copy(mut file: &File) -> io::Result<InMemoryBackend> {
    check_regular(file)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, &bytes)?;
    Ok(copy)
}

fn is_in_use(path: &Path) -> bool {
    let opened = Database::builder().open_read_only(path);
    matches!(opened, Err(DatabaseError::DatabaseAlreadyOpen))
}

#[cfg(test)]
mod tests;

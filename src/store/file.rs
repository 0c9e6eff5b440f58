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
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use parking_lot::Mutex;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Database, ReadableDatabase as _, ReadableTable, StorageBackend, StorageError, Table,
    TableDefinition, TableHandle as _, WriteTransaction,
};
use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::beside::{Beside, folder_of, remove_made, sync_folder_of};
use super::memory::MemoryStore;
use super::{Kept, SessionBounds, SessionStore, StoreUnavailable, WhyEnded};
use crate::gate::session::{
    Session, SessionDigest, SessionKind, SessionPolicy, ShortDigest, Timestamp,
};
use crate::identity::UserName;

/// Its name says what a row means: begun, credential epoch, last seen, whether it is remembered,
/// user.
const SESSIONS: TableDefinition<'_, &[u8; 32], (u64, u64, u64, bool, &str)> =
    TableDefinition::new("portcullis sessions 2");

/// What it was before sessions could be remembered.
const WITHOUT_KIND: TableDefinition<'_, &[u8; 32], (u64, u64, u64, &str)> =
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
    progress: Arc<Progress>,
    /// What ends, ends in memory under this lock: what memory has no more, the disk was told to
    /// forget before.
    jobs: Mutex<Jobs>,
}

/// The way to the thread that writes.
#[derive(Debug)]
struct Jobs {
    /// As many as there are requests that wait for them, and a few more.
    sender: Sender<Job>,
    /// How many there have been.
    asked: u64,
}

/// How far the disk has come.
#[derive(Debug, Default)]
struct Progress {
    /// The last write failed, or nobody writes any more.
    has_failed: AtomicBool,
    /// How many jobs the disk has.
    written: AtomicU64,
    /// The last of the jobs that somebody has waited for in vain: until the disk has it, who tries
    /// again to log out must not hear that there is no session any more.
    overdue: AtomicU64,
}

/// Something that the disk is to have.
struct Asked {
    /// Its number among all jobs.
    number: u64,
    wait: oneshot::Receiver<Result<(), StoreUnavailable>>,
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
        let (sender, to_do) = mpsc::channel();
        let progress = Arc::new(Progress::default());
        let writer = Writer {
            memory: Arc::clone(&memory),
            progress: Arc::clone(&progress),
            open,
            database: Some(database),
            jobs: to_do,
            taken: 0,
            uses: None,
            uses_noted: Timestamp(0),
            unwanted: Vec::new(),
        };
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || writer.run())?;
        let store = Self {
            memory,
            progress,
            jobs: Mutex::new(Jobs { sender, asked: 0 }),
        };
        store.forget(displaced);
        Ok(store)
    }

    /// Whether the file can be written.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.progress.is_up()
    }

    /// Writes what is still to be written, before the process ends.
    pub fn close(&self, now: Timestamp) {
        let (written, wait) = mpsc::channel();
        let asked = {
            let mut jobs = self.jobs.lock();
            jobs.send(Job::NoteUse(now))
                .and_then(|_| jobs.send(Job::Stop(written)))
        };
        if asked.is_ok() {
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
            drop(self.jobs.lock().send(Job::End(digests, None)));
        }
    }

    /// Ends sessions, and comes back when the disk has that. Where it fails, they have ended all the
    /// same, and whoever asked does not put it on record. With none, what was asked for before is
    /// waited for.
    async fn end_those(
        &self,
        take: impl FnOnce(&MemoryStore) -> Vec<Kept>,
    ) -> Result<Vec<Kept>, StoreUnavailable> {
        let (ended, asked) = self.ask_to_end(take);
        let written = match asked {
            Ok(asked) => self.wait(asked).await,
            Err(unavailable) => Err(unavailable),
        };
        match written {
            Ok(()) => Ok(ended),
            Err(unavailable) => {
                self.memory.tell(ended, WhyEnded::StoreFailed);
                Err(unavailable)
            }
        }
    }

    /// Ends sessions in memory, and on the disk as soon as that can be.
    fn ask_to_end(
        &self,
        take: impl FnOnce(&MemoryStore) -> Vec<Kept>,
    ) -> (Vec<Kept>, Result<Asked, StoreUnavailable>) {
        let mut jobs = self.jobs.lock();
        let ended = take(&self.memory);
        // While nothing is written, what waits for nothing of its own would only become more.
        if ended.is_empty() && !self.is_up() {
            return (ended, Err(StoreUnavailable));
        }
        let digests = ended.iter().map(|it| it.digest).collect();
        let asked = jobs.ask(|done| Job::End(digests, Some(done)));
        (ended, asked)
    }

    async fn wait(&self, asked: Asked) -> Result<(), StoreUnavailable> {
        let Asked { number, wait } = asked;
        if let Ok(written) = timeout(PATIENCE, wait).await {
            return written.unwrap_or(Err(StoreUnavailable));
        }
        self.progress.overdue.fetch_max(number, Ordering::AcqRel);
        Err(StoreUnavailable)
    }
}

impl Jobs {
    /// The number of the job.
    fn send(&mut self, job: Job) -> Result<u64, StoreUnavailable> {
        self.sender.send(job).map_err(|_| StoreUnavailable)?;
        self.asked += 1;
        Ok(self.asked)
    }

    fn ask(&mut self, job: impl FnOnce(Done) -> Job) -> Result<Asked, StoreUnavailable> {
        let (done, wait) = oneshot::channel();
        let number = self.send(job(done))?;
        Ok(Asked { number, wait })
    }
}

impl Progress {
    fn is_up(&self) -> bool {
        let is_behind =
            || self.written.load(Ordering::Acquire) < self.overdue.load(Ordering::Acquire);
        !self.has_failed.load(Ordering::Acquire) && !is_behind()
    }

    fn note(&self, has_failed: bool) {
        self.has_failed.store(has_failed, Ordering::Release);
    }
}

impl SessionStore for FileStore {
    async fn begin(&self, digest: SessionDigest, session: Session) -> Result<(), StoreUnavailable> {
        // While nothing is written, what waits would only become more.
        self.check_up()?;
        let session = Arc::new(session);
        let begin = |done| Job::Begin(Kept { digest, session }, done);
        let asked = self.jobs.lock().ask(begin)?;
        self.wait(asked).await
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
        let take = |memory: &MemoryStore| memory.take(digest).into_iter().collect();
        self.end_those(take).await.map(|ended| !ended.is_empty())
    }

    async fn end_all(&self, user: Option<&UserName>) -> Result<Vec<Kept>, StoreUnavailable> {
        self.end_those(|memory| memory.take_all(user)).await
    }

    async fn settle(&self) -> Result<(), StoreUnavailable> {
        self.end_those(|_| Vec::new()).await.map(drop)
    }

    async fn sweep(
        &self,
        policy: &SessionPolicy,
        now: Timestamp,
    ) -> Result<usize, StoreUnavailable> {
        let ended = self.memory.take_expired(policy, now);
        let count = ended.len();
        self.forget(ended);
        self.jobs.lock().send(Job::NoteUse(now))?;
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
    progress: Arc<Progress>,
    open: Open,
    database: Option<Database>,
    jobs: Receiver<Job>,
    /// How many there have been.
    taken: u64,
    /// Which uses are being written.
    uses: Option<Uses>,
    /// Those before this time have been.
    uses_noted: Timestamp,
    /// Begun while nobody waited for them any more: nobody has their ids. To be removed.
    unwanted: Vec<SessionDigest>,
}

/// How far the list of sessions has been looked through for those that were used.
struct Uses {
    begun: Timestamp,
    after: Option<(UserName, SessionDigest)>,
}

/// What the disk gets with one wait.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    begun: Vec<(SessionDigest, Done)>,
    waiting: Vec<Done>,
    stop: Option<Sender<()>>,
}

impl Writer {
    fn run(mut self) {
        while let Some(jobs) = self.next_jobs() {
            if self.database.is_none() {
                self.try_again();
            }
            let stop = self.write(jobs);
            if let Some(stop) = stop {
                while self.has_more() && self.database.is_some() {
                    self.write(Vec::new());
                }
                // Closed, so that it need not be put right at the next start.
                self.database = None;
                let _ = stop.send(());
                return;
            }
        }
    }

    /// Whether there is something to write without having been asked.
    fn has_more(&self) -> bool {
        self.uses.is_some() || !self.unwanted.is_empty()
    }

    /// What there is to do, which may be nothing new; `None` when there will be no more.
    fn next_jobs(&self) -> Option<Vec<Job>> {
        let first = match (&self.database, self.has_more()) {
            (None, _) => match self.jobs.recv_timeout(RETRY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
            (Some(_), true) => match self.jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return None,
            },
            (Some(_), false) => Some(self.jobs.recv().ok()?),
        };
        let more = self.jobs.try_iter().take(TOGETHER);
        Some(first.into_iter().chain(more).collect())
    }

    /// Does all of that with one wait for the disk. Gives back who waits for the end.
    fn write(&mut self, jobs: Vec<Job>) -> Option<Sender<()>> {
        self.taken += jobs.len() as u64;
        let mut batch = Batch::default();
        for job in jobs {
            self.add(job, &mut batch);
        }
        let unwanted = std::mem::take(&mut self.unwanted);
        batch.rows.extend(unwanted.into_iter().map(Row::Remove));
        batch
            .rows
            .extend(self.next_uses().into_iter().map(Row::Put));
        let written = match &self.database {
            None => Err(StoreUnavailable),
            Some(_) if batch.rows.is_empty() => Ok(()),
            Some(database) => commit(database, &batch.rows).map_err(|_| StoreUnavailable),
        };
        match written {
            Ok(()) => self.tell_written(batch),
            Err(StoreUnavailable) => self.tell_failed(batch),
        }
    }

    fn add(&mut self, job: Job, batch: &mut Batch) {
        match job {
            Job::Begin(_, done) if self.database.is_none() => {
                drop(done.send(Err(StoreUnavailable)));
            }
            // Its login has been refused meanwhile: it must not displace anybody's.
            Job::Begin(_, done) if done.is_closed() => {}
            Job::Begin(kept, done) => {
                // Its id is nobody's yet: nobody is let in by it before the disk has it.
                let displaced = self.memory.insert(kept.clone());
                batch.begun.push((kept.digest, done));
                batch.rows.push(Row::Put(kept));
                batch.rows.extend(displaced.into_iter().map(Row::Remove));
            }
            Job::End(digests, done) => {
                batch.rows.extend(digests.into_iter().map(Row::Remove));
                batch.waiting.extend(done);
            }
            Job::NoteUse(now) if self.uses.is_none() => {
                self.uses = Some(Uses {
                    begun: now,
                    after: None,
                });
            }
            Job::NoteUse(_) => {}
            Job::Stop(done) => batch.stop = Some(done),
        }
    }

    fn tell_written(&mut self, batch: Batch) -> Option<Sender<()>> {
        self.progress.written.store(self.taken, Ordering::Release);
        self.progress.note(false);
        for (digest, done) in batch.begun {
            if done.send(Ok(())).is_err() {
                self.memory.take(&digest);
                self.unwanted.push(digest);
            }
        }
        for done in batch.waiting {
            // Whoever waited may have given up.
            drop(done.send(Ok(())));
        }
        batch.stop
    }

    fn tell_failed(&mut self, batch: Batch) -> Option<Sender<()>> {
        self.progress.note(true);
        self.database = None;
        let (begun, begins): (Vec<_>, Vec<_>) = batch.begun.into_iter().unzip();
        for digest in begun {
            self.memory.take(&digest);
        }
        for done in begins.into_iter().chain(batch.waiting) {
            drop(done.send(Err(StoreUnavailable)));
        }
        batch.stop
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
        self.progress.note(rewritten.is_none());
        self.database = rewritten;
    }
}

/// Whatever ends the thread: nothing is written any more.
impl Drop for Writer {
    fn drop(&mut self) {
        self.progress.note(true);
        if std::thread::panicking() {
            // Closing what has panicked may panic once more, which would end the process.
            std::mem::forget(self.database.take());
        }
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
    table: &mut Table<'_, &'static [u8; 32], (u64, u64, u64, bool, &'static str)>,
    kept: &Kept,
) -> Result<(), StorageError> {
    let session = &kept.session;
    let (begun, seen) = (session.created.0, session.last_seen().0);
    let (epoch, is_remembered) = (
        session.credential_epoch,
        session.kind == SessionKind::Remembered,
    );
    let row = (begun, epoch, seen, is_remembered, session.user.as_str());
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
        let (begun, epoch, seen, is_remembered, user) = row.value();
        let user = UserName::parse(user).map_err(damaged)?;
        let user = users.get(&user).cloned().unwrap_or(user);
        users.insert(user.clone());
        let kind = match is_remembered {
            true => SessionKind::Remembered,
            false => SessionKind::Visit,
        };
        let session = Session::resume(user, epoch, Timestamp(begun), Timestamp(seen), kind);
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
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder_of(path))?;
    match open_existing(path) {
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => make(path),
        opened => opened,
    }
}

fn open_existing(path: &Path) -> Result<Database, OpenError> {
    let file = open_regular(path, File::options().read(true).write(true))?;
    // Locks are of all handles that were made from one; this one goes before the database does.
    let same = file.try_clone()?;
    let database = open_database(FileBackend::new(file).map_err(why)?)?;
    // Only now is it known to be ours.
    same.set_permissions(Permissions::from_mode(0o600))?;
    Ok(database)
}

/// Makes one beside it, which gets the name when it is whole. One that is half made would be called
/// damaged at every later start.
fn make(path: &Path) -> Result<Database, OpenError> {
    if std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) {
        return Err(io::Error::other("a symbolic link to a file that does not exist").into());
    }
    let (folder, prefix) = (folder_of(path), prefix_of_new(path));
    let new = Beside::named(folder, &prefix)?;
    let database = open_database(FileBackend::new(new.file().try_clone()?).map_err(why)?)?;
    new.rename_to_new(path)
        .map_err(|error| match error.kind() {
            // Another process was quicker, and may have removed ours.
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => OpenError::InUse,
            _ => error.into(),
        })?;
    // It is to be found after a power cut as well.
    sync_folder_of(path)?;
    // What starts that were killed have left. They had no session in it, and whoever is making one now
    // comes too late.
    remove_made(folder, &prefix, |_| true);
    Ok(database)
}

/// How the names of files begin that are to become this one.
fn prefix_of_new(target: &Path) -> OsString {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new-");
    name
}

/// Opens what is a file and nothing else: opening a pipe would wait for its other side.
fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
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
    let ours = [SESSIONS.name(), WITHOUT_KIND.name()];
    let tables: Vec<_> = write.list_tables().map_err(why)?.collect();
    if tables.iter().any(|table| !ours.contains(&table.name())) {
        return Err(damaged("it has tables of somebody else"));
    }
    bring_up_to_date(&write).map_err(why)?;
    write.commit().map_err(why)?;
    Ok(database)
}

/// Makes what was written by an earlier version into what is written now.
fn bring_up_to_date(write: &WriteTransaction) -> Result<(), redb::Error> {
    let mut table = write.open_table(SESSIONS)?;
    {
        let before = write.open_table(WITHOUT_KIND)?;
        for row in before.iter()? {
            let (digest, row) = row?;
            let (begun, epoch, seen, user) = row.value();
            table.insert(digest.value(), (begun, epoch, seen, false, user))?;
        }
    }
    write.delete_table(WITHOUT_KIND)?;
    Ok(())
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
    let file = match open_regular(path, File::options().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let checked = open_database(copy(&file)?).and_then(|database| read(&database, drop));
    match checked {
        // A copy of what is being written may be anything.
        Err(_) if is_in_use(&file) => Ok(()),
        // Memory does not fail: it ends before the database does.
        Err(OpenError::Io(error)) => Err(damaged(error)),
        checked => checked,
    }
}

fn copy(mut file: &File) -> io::Result<InMemoryBackend> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    let copy = InMemoryBackend::new();
    copy.set_len(bytes.len() as u64)?;
    copy.write(0, &bytes)?;
    Ok(copy)
}

/// Asked of the system and not of redb, which does not take every damaged file.
fn is_in_use(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests;

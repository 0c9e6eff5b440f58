//! Request bodies that are kept until they are whole: in memory while they are small, beyond that in
//! a file without a name. What is kept can be read again from its beginning.
//!
//! Whose bodies are kept, and how long a client may take to send one, is `collect`'s business. Files
//! are never touched on a thread that forwards.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::exchange::{BodyFailure, BodySource};
use super::seldom::Seldom;
use super::shares::{Holder, NoShare, Share, Shares};
use super::spec::BufferingSpec;
use crate::http1::timer::within;

/// How much of one body is kept in memory: most forms and API calls, and a piece of a file that is
/// worth a system call.
const IN_MEMORY: usize = 64 << 10;

/// The same of all bodies together. Beyond it, small ones go to a file too: ten thousand slow clients
/// must not take the memory that fast ones need.
const ALL_IN_MEMORY: u64 = 64 << 20;

/// What is done with files at one time. More would make no disk faster, and one that hangs would
/// take a thread for each request.
const AT_ONCE: usize = 8;

/// The longest wait for a disk, the wait for a turn included.
const DISK: Duration = Duration::from_secs(30);

/// Why a body is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It alone is larger than all together may be.
    #[error("the body is larger than all that may be kept")]
    TooLarge,
    /// All others leave no room for it.
    #[error("as many bodies are kept as there is room for")]
    Full,
    /// Those of its client leave too little room for all others.
    #[error("one client has as many bodies kept as there is room for all others")]
    TooMuch,
    /// The disk took too long.
    #[error("the disk takes too long")]
    TooSlow,
    /// The disk, or the user's part of it, is full.
    #[error("the disk is full: {0}")]
    DiskFull(#[source] io::Error),
    /// The disk fails.
    #[error("the disk fails: {0}")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<NoShare> for SpoolError {
    fn from(why: NoShare) -> Self {
        match why {
            NoShare::Full => Self::Full,
            NoShare::TooMuch => Self::TooMuch,
        }
    }
}

/// Where bodies are kept; one for all threads.
#[derive(Debug)]
pub struct Spools {
    folder: Arc<Path>,
    all: Arc<Shares>,
    memory: Arc<Shares>,
    turns: Arc<Semaphore>,
    /// When the last failure of the disk was said.
    pub(super) said: Seldom,
    /// When it was said last that a backend should get its bodies from here.
    pub(super) hinted: Seldom,
}

impl Spools {
    /// Keeps as much as `spec` allows, where it says.
    #[must_use]
    pub fn new(spec: &BufferingSpec) -> Self {
        Self {
            folder: spec.folder.as_path().into(),
            all: Shares::of(spec.total),
            memory: Shares::of(ALL_IN_MEMORY),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            said: Seldom::default(),
            hinted: Seldom::default(),
        }
    }

    /// The bytes that are kept now.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.all.held()
    }

    /// Begins to keep a body of somebody, of `length` bytes where that is known. Room is taken as it
    /// comes: what is only announced would keep out others who send theirs.
    ///
    /// # Errors
    /// [`SpoolError`], where there is no room for so much at this moment.
    pub fn begin(&self, holder: Holder, length: Option<u64>) -> Result<Spool<'_>, SpoolError> {
        let spool = Spool {
            spools: self,
            share: Arc::new(self.all.begin(holder)),
            in_memory: self.memory.begin(Holder::Crowd),
            memory: Vec::new(),
            file: None,
            length: 0,
        };
        let length = length.unwrap_or(0);
        if length > self.all.most() {
            return Err(SpoolError::TooLarge);
        }
        spool.share.has_room(length)?;
        Ok(spool)
    }

    /// Does something with a file, on a thread where that may take its time.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let turns = Arc::clone(&self.turns);
        let done = async {
            // The turn ends with the work, not with whoever waits for it.
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let _turn = turn;
                work()
            };
            spawn_blocking(work).await.map_err(io::Error::other)?
        };
        match within(DISK, done).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(SpoolError::TooSlow),
        }
    }
}

/// A file that is gone when nobody has it open any more, and what it takes of the disk.
#[derive(Debug)]
struct Stored {
    file: File,
    _share: Arc<Share>,
}

/// A body while it comes.
#[derive(Debug)]
pub struct Spool<'s> {
    spools: &'s Spools,
    share: Arc<Share>,
    in_memory: Share,
    /// What is not in the file yet.
    memory: Vec<u8>,
    file: Option<Arc<Stored>>,
    /// What came so far.
    length: u64,
}

impl<'s> Spool<'s> {
    /// Takes room for the body to grow to `length` bytes.
    fn reserve(&self, length: u64) -> Result<(), SpoolError> {
        if length > self.spools.all.most() {
            return Err(SpoolError::TooLarge);
        }
        match length.saturating_sub(self.share.amount()) {
            0 => Ok(()),
            more => Ok(self.share.grow(more)?),
        }
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// [`SpoolError`]. What is kept is of no use any more then.
    pub async fn add(&mut self, piece: &[u8]) -> Result<(), SpoolError> {
        self.length = self.length.saturating_add(piece.len() as u64);
        self.reserve(self.length)?;
        let fits = self.memory.len() + piece.len() <= IN_MEMORY;
        let stays = fits && self.in_memory.grow(piece.len() as u64).is_ok();
        self.memory.extend_from_slice(piece);
        match stays {
            true => Ok(()),
            false => self.write_out().await,
        }
    }

    /// Moves what is in memory to the file, which is made for the first of it.
    async fn write_out(&mut self) -> Result<(), SpoolError> {
        let bytes = std::mem::take(&mut self.memory);
        let file = self.file.clone();
        let folder = Arc::clone(&self.spools.folder);
        let share = Arc::clone(&self.share);
        let written = self.spools.on_disk(move || {
            let stored = match file {
                Some(stored) => stored,
                None => Arc::new(Stored {
                    file: tempfile::tempfile_in(folder)?,
                    _share: share,
                }),
            };
            (&stored.file).write_all(&bytes)?;
            Ok(stored)
        });
        self.file = Some(written.await?);
        self.in_memory.give_back();
        Ok(())
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`SpoolError`], where the last of it cannot be written.
    pub async fn finish(mut self) -> Result<Spooled<'s>, SpoolError> {
        if self.file.is_some() && !self.memory.is_empty() {
            self.write_out().await?;
        }
        Ok(Spooled {
            spools: self.spools,
            length: self.length,
            kept: match self.file {
                Some(stored) => Kept::File(stored),
                None => Kept::Memory(self.memory.into()),
            },
            _shares: (self.share, self.in_memory),
        })
    }
}

#[derive(Debug)]
enum Kept {
    Memory(Bytes),
    File(Arc<Stored>),
}

/// A whole body.
#[derive(Debug)]
pub struct Spooled<'s> {
    spools: &'s Spools,
    length: u64,
    kept: Kept,
    _shares: (Arc<Share>, Share),
}

impl Spooled<'_> {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads it from its beginning.
    #[must_use]
    pub const fn read(&self) -> SpoolReader<'_> {
        SpoolReader {
            spooled: self,
            at: 0,
        }
    }
}

/// Reads a whole body.
#[derive(Debug)]
pub struct SpoolReader<'s> {
    spooled: &'s Spooled<'s>,
    at: u64,
}

impl SpoolReader<'_> {
    async fn read_file(&self, stored: &Arc<Stored>, length: usize) -> Result<Bytes, SpoolError> {
        let (stored, at) = (Arc::clone(stored), self.at);
        let read = self.spooled.spools.on_disk(move || {
            let mut piece = vec![0; length];
            stored.file.read_exact_at(&mut piece, at)?;
            Ok(piece.into())
        });
        read.await
    }
}

impl BodySource for SpoolReader<'_> {
    fn is_empty(&self) -> bool {
        self.at == self.spooled.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let left = self.spooled.length - self.at;
        if left == 0 {
            return Ok(None);
        }
        let piece = match &self.spooled.kept {
            Kept::Memory(bytes) => bytes.clone(),
            Kept::File(stored) => {
                let length = usize::try_from(left).map_or(IN_MEMORY, |left| left.min(IN_MEMORY));
                let read = self.read_file(stored, length).await;
                read.map_err(|_| BodyFailure::Lost)?
            }
        };
        self.at += piece.len() as u64;
        Ok(Some(piece))
    }

    fn begin_again(&mut self) -> bool {
        self.at = 0;
        true
    }
}

/// Whether bodies can be kept in `folder`.
///
/// # Errors
/// Why not.
pub fn check(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(b"x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spools(total: u64, folder: &Path) -> Spools {
        Spools::new(&BufferingSpec {
            total,
            folder: folder.into(),
            ..BufferingSpec::default()
        })
    }

    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    async fn kept<'s>(spools: &'s Spools, body: &[u8], piece: usize) -> Spooled<'s> {
        let mut spool = spools.begin(Holder::Crowd, None).unwrap();
        for piece in body.chunks(piece) {
            spool.add(piece).await.unwrap();
        }
        spool.finish().await.unwrap()
    }

    async fn read(source: &mut SpoolReader<'_>) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(piece) = source.next().await.unwrap() {
            assert!((1..=IN_MEMORY).contains(&piece.len()));
            read.extend_from_slice(&piece);
        }
        read
    }

    #[tokio::test]
    async fn what_is_kept_is_read_as_it_came_and_as_often_as_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let spools = spools(1 << 20, folder.path());
        for (length, piece) in [
            (0, 1),
            (1, 1),
            (IN_MEMORY, 1000),
            (IN_MEMORY + 1, IN_MEMORY),
            (IN_MEMORY + 1, IN_MEMORY + 1),
            (300_000, 7_001),
        ] {
            let body = body(length);
            let whole = kept(&spools, &body, piece).await;
            assert_eq!(whole.len(), length as u64);
            let in_file = matches!(whole.kept, Kept::File(_));
            assert_eq!(in_file, length > IN_MEMORY, "{length}");
            let mut source = whole.read();
            for _ in 0..2 {
                assert!(read(&mut source).await == body, "{length} by {piece}");
                assert!(source.begin_again());
            }
            // A file without a name is nobody's to read.
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
            assert_eq!(spools.kept(), length as u64);
            drop(whole);
            assert_eq!(spools.kept(), 0);
        }
        assert_eq!(spools.memory.held(), 0);
    }

    #[tokio::test]
    async fn there_is_room_for_so_much_and_what_is_let_go_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let spools = spools(100_000, folder.path());
        let first = kept(&spools, &body(90_000), 10_000).await;
        // Known to be too long before any of it has come, or found out.
        assert!(matches!(
            spools.begin(Holder::Crowd, Some(10_001)),
            Err(SpoolError::Full)
        ));
        let mut second = spools.begin(Holder::Crowd, None).unwrap();
        second.add(&body(10_000)).await.unwrap();
        assert!(matches!(second.add(b"x").await, Err(SpoolError::Full)));
        drop(second);
        // What is only announced takes nothing from anybody.
        let announced = spools.begin(Holder::Crowd, Some(10_000)).unwrap();
        assert_eq!(spools.kept(), 90_000);
        drop(announced);
        drop(first);
        assert_eq!(spools.kept(), 0);
        drop(kept(&spools, &body(100_000), 10_000).await);
        // No patience would help.
        assert!(matches!(
            spools.begin(Holder::Crowd, Some(100_001)),
            Err(SpoolError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn small_bodies_go_to_a_file_too_where_there_are_many_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let spools = spools(1 << 30, folder.path());
        let _others = spools
            .memory
            .take(Holder::Crowd, ALL_IN_MEMORY - 5)
            .unwrap();
        let [small, other] = [b"12345", b"67890"];
        let first = kept(&spools, small, 5).await;
        assert!(matches!(first.kept, Kept::Memory(_)));
        let second = kept(&spools, other, 5).await;
        assert!(matches!(second.kept, Kept::File(_)));
        assert_eq!(read(&mut second.read()).await, other);
        drop(first);
        assert!(matches!(
            kept(&spools, other, 5).await.kept,
            Kept::Memory(_)
        ));
    }

    #[tokio::test]
    async fn a_write_that_is_given_up_holds_its_room_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let spools = spools(1 << 20, folder.path());
        let big = body(IN_MEMORY + 1);
        // A write that has ended before anybody asked is not given up: then another is tried.
        for _ in 0..100 {
            let mut spool = spools.begin(Holder::Crowd, None).unwrap();
            let given_up = {
                let mut adding = std::pin::pin!(spool.add(&big));
                let polled = std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(adding.as_mut().poll(cx).is_pending())
                });
                polled.await
            };
            drop(spool);
            while spools.kept() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(spools.turns.available_permits(), AT_ONCE);
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
            if given_up {
                return;
            }
        }
        panic!("every write had ended at once");
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_told_from_one_that_is_full() {
        let spools = spools(1 << 20, Path::new("/nowhere"));
        let mut spool = spools.begin(Holder::Crowd, None).unwrap();
        let failed = spool.add(&body(IN_MEMORY + 1)).await;
        assert!(matches!(failed, Err(SpoolError::Failed(_))), "{failed:?}");
        drop(spool);
        assert_eq!(spools.kept(), 0);
        let full = SpoolError::from(io::Error::from(ErrorKind::StorageFull));
        assert!(matches!(full, SpoolError::DiskFull(_)));
    }
}

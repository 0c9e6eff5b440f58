//! What is only of a file: what it keeps, what it refuses, and what happens when it fails.

use std::time::Instant;

use super::*;

const BOUNDS: SessionBounds = SessionBounds {
    max: 100,
    per_user: 100,
};

fn digest(n: u8) -> SessionDigest {
    SessionDigest([n; 32])
}

fn session(begun: u64) -> Session {
    Session::begin(UserName::parse("ralph").unwrap(), 7, Timestamp(begun))
}

async fn seen(store: &FileStore, n: u8) -> Option<u64> {
    let session = store.look_up(&digest(n)).await.unwrap();
    session.map(|it| it.last_seen().0)
}

#[tokio::test]
async fn what_was_begun_is_there_again_and_what_was_ended_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    for n in 0..4 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    store.end(&digest(0)).await.unwrap();
    store
        .look_up(&digest(1))
        .await
        .unwrap()
        .unwrap()
        .touch(Timestamp(5000));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        FileStore::open(&path, BOUNDS),
        Err(OpenError::InUse)
    ));
    check(&path).unwrap();
    store.close(Timestamp(6000));

    let one_less = SessionBounds { max: 2, ..BOUNDS };
    let store = FileStore::open(&path, one_less).unwrap();
    assert_eq!(seen(&store, 0).await, None);
    assert_eq!(seen(&store, 1).await, Some(5000));
    let session = store.look_up(&digest(1)).await.unwrap().unwrap();
    assert_eq!((session.created.0, session.credential_epoch), (1000, 7));
    assert_eq!((store.kept(), store.untold().len()), (2, 1));
    store.close(Timestamp(6000));
    let store = FileStore::open(&path, BOUNDS).unwrap();
    assert_eq!(store.kept(), 2);
}

#[tokio::test]
async fn a_sweep_takes_from_the_disk_what_ended_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    store.begin(digest(1), session(0)).await.unwrap();
    store.begin(digest(2), session(3_600_000)).await.unwrap();
    let policy = SessionPolicy::default();
    let swept = store.sweep(&policy, Timestamp(3_600_000)).await.unwrap();
    assert_eq!(swept, 1);
    store.close(Timestamp(3_600_000));
    assert_eq!(FileStore::open(&path, BOUNDS).unwrap().kept(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.redb");
    let store = FileStore::open(&path, BOUNDS).unwrap();
    for n in 0..100 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    store.close(Timestamp(1000));
    let whole = std::fs::read(&path).unwrap();
    let at_row = whole.windows(32).position(|it| it == [55; 32]).unwrap();
    let mut refused = 0;
    for at in [0, at_row, at_row + 7, whole.len() / 2] {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x55;
        std::fs::write(&path, &spoilt).unwrap();
        let checked = check(&path);
        assert_eq!(std::fs::read(&path).unwrap(), spoilt);
        match FileStore::open(&path, BOUNDS) {
            // Where nothing was, nothing was spoilt.
            Ok(store) => {
                assert!(checked.is_ok() && store.kept() == 100, "{at}");
                store.close(Timestamp(1000));
            }
            Err(OpenError::Damaged(_)) => {
                assert!(checked.is_err());
                refused += 1;
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
    assert!(refused >= 2, "{refused}");
    for foreign in [&b"users: {}\n"[..], &whole[..whole.len() / 2]] {
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(check(&path), Err(OpenError::Damaged(_))));
        let opened = FileStore::open(&path, BOUNDS);
        assert!(matches!(opened, Err(OpenError::Damaged(_))), "{opened:?}");
        // What is left of it can be looked at; a mark that it was opened is all that may be new.
        let left = std::fs::read(&path).unwrap();
        assert_eq!(left.len(), foreign.len());
        let changed = left.iter().zip(foreign).filter(|(now, was)| now != was);
        assert!(changed.count() <= 1);
    }
}

#[test]
fn a_database_of_somebody_else_is_refused_and_what_is_no_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.redb");
    let other = Database::create(&path).unwrap();
    let write = other.begin_write().unwrap();
    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("theirs");
    write.open_table(table).unwrap();
    write.commit().unwrap();
    drop(other);
    assert!(matches!(check(&path), Err(OpenError::Damaged(_))));
    let opened = FileStore::open(&path, BOUNDS);
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
    assert!(FileStore::open(folder.path(), BOUNDS).is_err());
    assert!(check(&folder.path().join("none")).is_ok());
    assert!(!folder.path().join("none").exists());
}

/// A disk that fails while it is broken, and waits while it is stuck.
#[derive(Clone, Debug)]
struct Disk {
    content: Arc<InMemoryBackend>,
    is_broken: Arc<AtomicBool>,
    is_stuck: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        while self.is_stuck.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
        }
        match self.is_broken.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.content.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check().and_then(|()| self.content.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check().and_then(|()| self.content.write(offset, data))
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_everything_until_all_is_written_again() {
    let disk = Disk {
        content: Arc::new(InMemoryBackend::new()),
        is_broken: Arc::default(),
        is_stuck: Arc::default(),
    };
    let open = || {
        let disk = disk.clone();
        FileStore::start(Box::new(move || open_database(disk.clone())), BOUNDS).unwrap()
    };
    let store = open();
    for n in 0..3 {
        store.begin(digest(n), session(1000)).await.unwrap();
    }
    disk.is_broken.store(true, Ordering::Release);
    assert!(store.end(&digest(0)).await.is_err());
    assert!(!store.is_up());
    let untold = store.untold();
    let (kept, why) = &untold[0];
    assert_eq!((kept.digest, *why), (digest(0), WhyEnded::StoreFailed));
    assert_eq!(untold.len(), 1);
    assert!(store.look_up(&digest(1)).await.is_err());
    assert!(store.begin(digest(9), session(1000)).await.is_err());
    assert!(store.list(None, None, 10).await.is_err());

    disk.is_broken.store(false, Ordering::Release);
    let begun = Instant::now();
    while !store.is_up() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was ended stays so, and what was not begun is not there.
    for (n, expected) in [(0, None), (1, Some(1000)), (9, None)] {
        assert_eq!(seen(&store, n).await, expected);
    }
    store.close(Timestamp(1000));
    let store = open();
    for (n, expected) in [(0, None), (1, Some(1000)), (9, None)] {
        assert_eq!(seen(&store, n).await, expected);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_refuses_after_a_while_and_until_it_has_everything() {
    let disk = Disk {
        content: Arc::new(InMemoryBackend::new()),
        is_broken: Arc::default(),
        is_stuck: Arc::default(),
    };
    let own = disk.clone();
    let open = Box::new(move || open_database(own.clone()));
    let store = FileStore::start(open, BOUNDS).unwrap();
    store.begin(digest(1), session(1000)).await.unwrap();
    disk.is_stuck.store(true, Ordering::Release);
    assert!(store.end(&digest(1)).await.is_err());
    // Nobody hears that it is no more, as long as it might come back.
    assert!(store.look_up(&digest(1)).await.is_err());
    disk.is_stuck.store(false, Ordering::Release);
    let begun = Instant::now();
    while !store.is_up() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seen(&store, 1).await, None);
}

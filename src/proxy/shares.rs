//! What each client has of something that there is only so much of, and holds for long: WebSockets of
//! a backend, room for bodies.
//!
//! Nobody is given a fixed part of it. Who already holds some gets no more than is left for all others
//! (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998): one
//! client alone comes to half, several to less each, and there is always some for who has none.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashMapExt as _};
use parking_lot::Mutex;

use crate::identity::UserName;
use crate::identity::address::{AddressBlocks, ClientSite};

/// Something that there is only so much of.
#[derive(Debug)]
pub struct Shares {
    most: u64,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    all: u64,
    /// Never more entries than shares.
    by: HashMap<Holder, Holding>,
}

#[derive(Debug, Default)]
struct Holding {
    shares: usize,
    amount: u64,
}

/// Who something is held by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Somebody who is known, wherever they are.
    User(UserName),
    /// Whoever is there.
    Site(ClientSite),
    /// Many who cannot be told apart: they come through this machine, or through a trusted proxy that
    /// does not name them. Only what there is in all bounds them.
    Crowd,
}

impl Holder {
    /// Whom something counts for that `user` asks for, or else somebody at an address.
    pub(super) fn of(user: Option<&UserName>, ip: IpAddr, trusted: &AddressBlocks) -> Self {
        match user {
            Some(user) => Self::User(user.clone()),
            None if ip.is_loopback() || trusted.contains(ip) => Self::Crowd,
            None => Self::Site(ClientSite::of(ip)),
        }
    }
}

/// Why somebody gets no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// There is not so much left.
    #[error("there is not so much left")]
    Full,
    /// They hold as much as there is left for all others.
    #[error("one client holds as much as is left for all others")]
    TooMuch,
}

impl Shares {
    /// There is so much of it.
    #[must_use]
    pub fn of(most: u64) -> Arc<Self> {
        let held = Held {
            all: 0,
            by: HashMap::new(),
        };
        Arc::new(Self {
            most,
            held: Mutex::new(held),
        })
    }

    /// How much there is in all.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// How much of it is held.
    pub(super) fn held(&self) -> u64 {
        self.held.lock().all
    }

    /// Takes so much of it, in one share.
    ///
    /// # Errors
    /// [`NoShare`].
    pub(super) fn take(self: &Arc<Self>, holder: Holder, amount: u64) -> Result<Share, NoShare> {
        let share = self.begin(holder);
        share.grow(amount)?;
        Ok(share)
    }

    /// Begins a share with nothing in it.
    pub(super) fn begin(self: &Arc<Self>, holder: Holder) -> Share {
        self.held.lock().holding(&holder).shares += 1;
        Share {
            of: Arc::clone(self),
            holder,
            amount: AtomicU64::new(0),
        }
    }

    /// Whether somebody who has these shares may have so much more.
    fn may_grow(&self, held: &Held, holder: &Holder, more: u64) -> Result<(), NoShare> {
        let left = self.most.saturating_sub(held.all);
        let left = left.checked_sub(more).ok_or(NoShare::Full)?;
        let is_too_much = |it: &Holding| it.shares > 1 && it.amount.saturating_add(more) > left;
        match held.by.get(holder) {
            Some(it) if *holder != Holder::Crowd && is_too_much(it) => Err(NoShare::TooMuch),
            Some(_) | None => Ok(()),
        }
    }
}

impl Held {
    fn holding(&mut self, holder: &Holder) -> &mut Holding {
        self.by.entry(holder.clone()).or_default()
    }
}

/// What one use of it holds. Given back when it is dropped, however that comes.
#[derive(Debug)]
pub struct Share {
    of: Arc<Shares>,
    holder: Holder,
    amount: AtomicU64,
}

impl Share {
    /// How much it is.
    pub(super) fn amount(&self) -> u64 {
        self.amount.load(Ordering::Relaxed)
    }

    /// Whether it might grow by so much at this moment. The only share of somebody may take all that
    /// is left: how large one thing may be is decided elsewhere.
    ///
    /// # Errors
    /// [`NoShare`].
    pub(super) fn has_room(&self, more: u64) -> Result<(), NoShare> {
        self.of.may_grow(&self.of.held.lock(), &self.holder, more)
    }

    /// Lets it grow by so much.
    ///
    /// # Errors
    /// [`NoShare`], and then it does not.
    pub(super) fn grow(&self, more: u64) -> Result<(), NoShare> {
        let held = &mut *self.of.held.lock();
        self.of.may_grow(held, &self.holder, more)?;
        held.all += more;
        held.holding(&self.holder).amount += more;
        self.amount.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what is in it.
    pub(super) fn give_back(&self) {
        self.empty(&mut self.of.held.lock());
    }

    fn empty<'h>(&self, held: &'h mut Held) -> &'h mut Holding {
        let amount = self.amount.swap(0, Ordering::Relaxed);
        held.all -= amount;
        let holding = held.holding(&self.holder);
        holding.amount -= amount;
        holding
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let held = &mut *self.of.held.lock();
        let holding = self.empty(held);
        holding.shares -= 1;
        if holding.shares == 0 {
            held.by.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Holder {
        let trusted = AddressBlocks::default();
        Holder::of(None, IpAddr::from([192, 0, 2, last]), &trusted)
    }

    fn as_many_as_it_gets(shares: &Arc<Shares>, holder: &Holder) -> Vec<Share> {
        let take = || shares.take(holder.clone(), 1);
        std::iter::from_fn(|| take().ok()).take(1000).collect()
    }

    #[test]
    fn one_client_comes_to_half_and_each_further_one_to_half_of_what_is_left() {
        let shares = Shares::of(100);
        let first = as_many_as_it_gets(&shares, &client(1));
        let second = as_many_as_it_gets(&shares, &client(2));
        let third = as_many_as_it_gets(&shares, &client(3));
        assert_eq!([&first, &second, &third].map(Vec::len), [50, 25, 12]);
        assert_eq!(
            shares.take(client(3), 1).err(),
            Some(NoShare::TooMuch),
            "not because there is none left"
        );
        drop(second);
        // Those who hold less than what is left may have more again.
        assert!(!as_many_as_it_gets(&shares, &client(3)).is_empty());
        assert!(shares.take(client(1), 1).is_err());
    }

    #[test]
    fn there_is_always_some_for_who_has_none_until_all_is_held() {
        let shares = Shares::of(10);
        let greedy: Vec<_> = (1..=3)
            .flat_map(|it| as_many_as_it_gets(&shares, &client(it)))
            .collect();
        let left = 10 - greedy.len();
        let others: Vec<_> = (100..)
            .map_while(|it| shares.take(client(it), 1).ok())
            .collect();
        assert_eq!((left > 0, others.len()), (true, left));
        assert_eq!(shares.take(client(200), 1).err(), Some(NoShare::Full));
    }

    #[test]
    fn the_only_share_of_somebody_may_take_all_and_a_second_one_only_what_is_fair() {
        let shares = Shares::of(100);
        let only = shares.begin(client(1));
        assert_eq!(only.grow(101), Err(NoShare::Full));
        assert_eq!((only.grow(60), only.grow(30)), (Ok(()), Ok(())));
        let second = shares.begin(client(1));
        assert_eq!(second.has_room(1), Err(NoShare::TooMuch));
        assert_eq!(second.grow(1), Err(NoShare::TooMuch));
        assert_eq!(only.grow(1), Err(NoShare::TooMuch));
        drop(second);
        assert_eq!((only.grow(10), only.amount()), (Ok(()), 100));
    }

    #[test]
    fn a_crowd_is_bounded_by_the_whole_only_and_a_user_counts_wherever_they_are() {
        let trusted = AddressBlocks::this_machine();
        let (here, there) = ([127, 0, 0, 1].into(), [192, 0, 2, 1].into());
        let crowd = Holder::of(None, here, &trusted);
        assert_eq!(crowd, Holder::Crowd);
        assert_ne!(Holder::of(None, there, &trusted), Holder::Crowd);
        let shares = Shares::of(100);
        assert_eq!(as_many_as_it_gets(&shares, &crowd).len(), 100);
        let user = UserName::parse("ada").unwrap();
        let by_user = |ip| Holder::of(Some(&user), ip, &trusted);
        assert_eq!(by_user(here), by_user(there));
        assert_eq!(as_many_as_it_gets(&shares, &by_user(here)).len(), 50);
    }

    #[test]
    fn nothing_is_kept_of_those_who_hold_nothing() {
        let shares = Shares::of(10);
        for last in 0..=255 {
            let share = shares.take(client(last), 10).unwrap();
            assert!(shares.take(client(last), 1).is_err());
            share.give_back();
            assert_eq!((share.amount(), shares.held()), (0, 0));
        }
        assert!(shares.held.lock().by.is_empty());
    }
}

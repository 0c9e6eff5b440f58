//! Which address serves whom, where one client is always to be served by the same one: rendezvous
//! hashing. Each address draws a number for each client, and the highest one serves it. When an
//! address goes, only its own clients go elsewhere, and each to another one; when it comes back, they
//! come back. There is no ring to be built, and weights are exact.
//!
//! All replicas of a gate, and all its versions, have to come to the same: nothing here is random.

use std::net::IpAddr;

use crate::http1::fields::Fields;
use crate::proxy::cookie;
use crate::proxy::spec::balance::Balance;

/// Who a request is of, as far as it matters for where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(u64);

impl Affinity {
    /// What a request says of that. `None` where it does not matter, and where it says nothing: such
    /// a request may go anywhere.
    #[must_use]
    pub fn of(balance: &Balance, fields: &Fields, client: IpAddr) -> Option<Self> {
        match balance {
            Balance::RoundRobin | Balance::LeastConnections => None,
            Balance::Cookie(name) => cookie::first_value(fields, name).map(Self::of_bytes),
            Balance::Header(name) => fields.get(name).map(Self::of_bytes),
            Balance::ClientAddress => Some(match client {
                IpAddr::V4(ip) => Self::of_bytes(&ip.octets()),
                IpAddr::V6(ip) => Self::of_bytes(&ip.octets()),
            }),
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self(digest(bytes))
    }

    /// What the address with this digest draws for it: weights are the chances of the highest
    /// number (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
    pub(super) fn draw(self, address: u64, weight: u32) -> f64 {
        // Between 0 and 1, and neither of them: 53 bits are what a number of this kind holds.
        let drawn = (mix(self.0 ^ address) >> 11) as f64 + 0.5;
        let drawn = drawn / (1u64 << 53) as f64;
        -f64::from(weight) / drawn.ln()
    }
}

/// 64 bits of bytes: FNV-1a, mixed in the end so that each bit depends on all.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The last step of SplitMix64.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Vec<String> {
        (1..=5).map(|it| format!("10.0.0.{it}:8080")).collect()
    }

    fn chosen(key: &str, addresses: &[String], weights: [u32; 5]) -> String {
        let affinity = Affinity::of_bytes(key.as_bytes());
        let numbers = addresses.iter().zip(weights).map(|(address, weight)| {
            let drawn = affinity.draw(digest(address.as_bytes()), weight);
            (drawn, address)
        });
        let highest = numbers.max_by(|(a, _), (b, _)| a.total_cmp(b));
        highest.unwrap().1.clone()
    }

    #[test]
    fn when_one_of_five_goes_only_its_own_clients_go_elsewhere() {
        let all = addresses();
        let (gone, mut left) = (all[2].clone(), all.clone());
        left.remove(2);
        let mut moved = Vec::new();
        for number in 0..1000 {
            let key = format!("session-{number}");
            let (before, after) = (chosen(&key, &all, [1; 5]), chosen(&key, &left, [1; 5]));
            if before == gone {
                moved.push(after);
            } else {
                assert_eq!(before, after, "{key}");
            }
        }
        assert!((150..250).contains(&moved.len()), "{}", moved.len());
        for address in left {
            let got = moved.iter().filter(|it| **it == address).count();
            assert!((25..80).contains(&got), "{address} got {got}");
        }
    }

    #[test]
    fn each_serves_as_many_as_its_weight_says() {
        let all = addresses();
        let count = |weights| {
            let mut counts = [0; 5];
            for number in 0..10_000 {
                let chosen = chosen(&format!("{number}"), &all, weights);
                counts[all.iter().position(|it| *it == chosen).unwrap()] += 1;
            }
            counts
        };
        for got in count([1; 5]) {
            assert!((1800..2200).contains(&got), "{got}");
        }
        let [a, _, _, _, e] = count([1, 1, 1, 1, 4]);
        assert!((1100..1400).contains(&a), "{a}");
        assert!((4700..5300).contains(&e), "{e}");
    }

    #[test]
    fn who_is_served_where_is_the_same_in_every_version() {
        let all = addresses();
        let chosen = ["", "a", "b", "alice"].map(|key| chosen(key, &all, [1; 5]));
        let numbers = chosen.map(|it| it.as_bytes()[7] - b'0');
        assert_eq!(numbers, [1, 5, 1, 3]);
    }
}

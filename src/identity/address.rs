//! Addresses of clients: blocks of them, who is let in by them, and which of them are one client.
//!
//! How a client's address is found out is not said here: over TCP, by the PROXY protocol or by a
//! trusted proxy's fields, it is known before anybody asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBlock {
    first: IpAddr,
    prefix: u32,
}

impl AddressBlock {
    /// Reads an address, or a block as `10.0.0.0/8`.
    ///
    /// # Errors
    /// A sentence that says what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || "expected an address like 10.0.0.7, or a block like 10.0.0.0/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let first: IpAddr = address.parse().map_err(|_| expected())?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix.parse().map_err(|_| expected())?,
        };
        if prefix > longest {
            return Err(format!(
                "a block of {first} ends with /{longest} at most, got /{prefix}"
            ));
        }
        let block = Self { first, prefix };
        let beginning = block.beginning(first);
        if beginning != block.bits(first) {
            return Err(format!(
                "the address is not the first of its block, which is {}/{prefix}",
                block.first_address()
            ));
        }
        Ok(block)
    }

    fn first_address(&self) -> IpAddr {
        let beginning = self.beginning(self.first);
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits((beginning >> 96) as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(beginning).into(),
        }
    }

    /// Whether an address is in it. One of IPv4 never is in a block of IPv6, however it is written.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && self.beginning(address) == self.bits(self.first)
    }

    /// The address as a number whose first bit is the highest.
    fn bits(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    /// The first address of a block of this size around `address`.
    fn beginning(&self, address: IpAddr) -> u128 {
        let rest = u128::MAX.checked_shr(self.prefix).unwrap_or(0);
        self.bits(address) & !rest
    }

    /// The same block as addresses of clients are: an IPv4 address within IPv6 (RFC 4291 section
    /// 2.5.5.2) is the IPv4 address.
    #[must_use]
    pub fn of_clients(self) -> Self {
        const MAPPED: u32 = 96;
        match (self.first, self.prefix.checked_sub(MAPPED)) {
            (IpAddr::V6(first), Some(prefix)) if first.to_ipv4_mapped().is_some() => Self {
                first: first
                    .to_ipv4_mapped()
                    .unwrap_or(Ipv4Addr::UNSPECIFIED)
                    .into(),
                prefix,
            },
            _ => self,
        }
    }
}

/// Any number of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressBlocks(Vec<AddressBlock>);

impl AddressBlocks {
    /// These, for addresses of clients.
    #[must_use]
    pub fn new(blocks: Vec<AddressBlock>) -> Self {
        let blocks = blocks.into_iter().map(AddressBlock::of_clients);
        Self(blocks.collect())
    }

    /// Those of this machine alone (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3).
    #[must_use]
    pub fn this_machine() -> Self {
        let block = |first: IpAddr, prefix| AddressBlock { first, prefix };
        Self(vec![
            block(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            block(Ipv6Addr::LOCALHOST.into(), 128),
        ])
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, others: Self) -> Self {
        let mut blocks = self.0.clone();
        blocks.extend(others.0);
        Self(blocks)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address of a client (as [`IpAddr::to_canonical`] has it) is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }
}

/// Who is let in by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Only these, where it is written.
    pub allow: Option<AddressBlocks>,
    /// Never these, even where they are allowed.
    pub deny: AddressBlocks,
}

impl AddressRules {
    /// Whether they let everybody in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether a client is let in. The unspecified address stands for one that nobody knows.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        if address.is_unspecified() {
            return self.is_empty();
        }
        let allowed = self.allow.as_ref();
        !self.deny.contains(address) && allowed.is_none_or(|it| it.contains(address))
    }
}

/// What is counted as one client: an address, or the addresses that one machine may choose from
/// (RFC 4291 section 2.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientSite(u128);

impl ClientSite {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_its_addresses_and_no_other() {
        for (block, address, expected) in [
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::ffff:10.0.0.7", "10.0.0.7", false),
        ] {
            let parsed = AddressBlock::parse(block).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(parsed.contains(address), expected, "{block} {address}");
        }
        for bad in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "*",
        ] {
            assert!(AddressBlock::parse(bad).is_err(), "{bad}");
        }
    }

    fn blocks(texts: &[&str]) -> AddressBlocks {
        let parse = |text: &&str| AddressBlock::parse(text).unwrap();
        AddressBlocks::new(texts.iter().map(parse).collect())
    }

    #[test]
    fn an_ipv4_address_within_ipv6_is_the_ipv4_address() {
        for (block, address) in [
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.0/104", "10.9.9.9"),
            ("::ffff:0:0/96", "1.2.3.4"),
        ] {
            assert!(
                blocks(&[block]).contains(address.parse().unwrap()),
                "{block}"
            );
        }
        assert!(!blocks(&["::ffff:10.0.0.0/104"]).contains("11.0.0.1".parse().unwrap()));
        assert!(!blocks(&["::/64"]).contains("0.0.0.1".parse().unwrap()));
    }

    #[test]
    fn who_is_denied_is_not_let_in_though_allowed() {
        let rules = |allow: Option<&[&str]>, deny: &[&str]| AddressRules {
            allow: allow.map(blocks),
            deny: blocks(deny),
        };
        for (allow, deny, address, expected) in [
            (None, &[][..], "1.2.3.4", true),
            (None, &["1.0.0.0/8"][..], "1.2.3.4", false),
            (None, &["2.0.0.0/8"], "1.2.3.4", true),
            (Some(&["1.0.0.0/8"][..]), &[], "1.2.3.4", true),
            (Some(&["1.0.0.0/8"]), &[], "2.2.3.4", false),
            (Some(&["1.0.0.0/8"]), &["1.2.3.4"], "1.2.3.4", false),
            (Some(&["1.0.0.0/8"]), &["1.2.3.4"], "1.2.3.5", true),
            (Some(&[]), &[], "1.2.3.4", false),
        ] {
            let admitted = rules(allow, deny).admit(address.parse().unwrap());
            assert_eq!(admitted, expected, "{allow:?} {deny:?} {address}");
        }
    }

    #[test]
    fn the_addresses_of_one_machine_are_one_client() {
        let same = |a: &str, b: &str| {
            ClientSite::of(a.parse().unwrap()) == ClientSite::of(b.parse().unwrap())
        };
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8::1", "2001:db8::ffff:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
        assert!(!same("0.0.0.0", "::"));
    }
}

//! From which addresses messages are taken.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits, `10.0.0.0/8` or `2001:db8::/32`; without a length one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    mask: u128,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an address nor a network: write it like 10.0.0.0/8, 192.168.1.7 or 2001:db8::/32")]
pub struct NoNetwork {
    pub text: String,
}

/// Version 4 inside of version 6, as a socket for both shows it.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let none = || NoNetwork { text: text.chars().take(60).collect() };
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| none())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| none())?;
        let (longest, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.unwrap_or(longest);
        if length > longest {
            return Err(none());
        }
        let mask = u128::MAX.checked_shl(128 - (before + length)).unwrap_or(0);
        Ok(Self { first: bits(address) & mask, mask })
    }
}

impl Network {
    pub fn holds(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.first
    }
}

/// An address as people know it: no version 4 inside of version 6.
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4),
        four => four,
    }
}

/// The networks of this machine itself.
pub fn loopback() -> Vec<String> {
    vec!["127.0.0.0/8".to_owned(), format!("{}/128", Ipv6Addr::LOCALHOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_with_its_bits() {
        let cases = [
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3/24", "10.1.2.200", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1/128", "::1", true),
        ];
        for (network, address, held) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.holds(address.parse().unwrap()), held, "{network:?} {address}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0", "example.com", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().unwrap_err().to_string().contains("10.0.0.0/8"), "{wrong}");
        }
    }

    #[test]
    fn an_address_of_version_4_looks_like_one() {
        assert_eq!(plain("::ffff:10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
        assert_eq!(plain("::1".parse().unwrap()).to_string(), "::1");
    }
}
